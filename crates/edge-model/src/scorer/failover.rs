//! Which device works, and what happens when it fails at work: once more on the same, then on the CPU, for good.

use std::sync::{Arc, PoisonError, RwLock};

use super::ScorerError;
use super::engine::{Engine, Model};
use crate::backend::choice::{first_accepted, on_cpu};
use crate::backend::{DeviceChoice, Setup};

/// The device in use and how to leave it.
pub(super) struct Failover {
    choice: DeviceChoice,
    setup: Setup,
    engine: RwLock<Arc<Engine>>,
}

impl Failover {
    pub(super) fn open(model: &Arc<Model>, choice: DeviceChoice, setup: &Setup) -> Result<Self, ScorerError> {
        let engine = first_accepted(choice, setup, |chosen| Engine::prove(Arc::clone(model), chosen))?;
        Ok(Self::new(choice, setup.clone(), engine))
    }

    pub(super) fn new(choice: DeviceChoice, setup: Setup, engine: Engine) -> Self {
        Self { choice, setup, engine: RwLock::new(Arc::new(engine)) }
    }

    /// The engine in use.
    pub(super) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does `work` on the device. What may be the device's fault is done once more; if that fails too and the device was not
    /// insisted on, the CPU does it, and whatever comes after.
    ///
    /// # Errors
    /// Of the work; [`ScorerError::DeviceFailed`] where there is no other device.
    pub(super) fn attempt<T>(&self, work: impl Fn(&Engine) -> Result<T, ScorerError>) -> Result<T, ScorerError> {
        let engine = self.engine();
        let is_blamed = |error: &ScorerError| engine.policy().needs_known_answers && error.may_be_the_devices();
        match work(&engine) {
            Err(error) if is_blamed(&error) => log::warn!("trying once more: {error}"),
            result => return result,
        }
        let failure = match work(&engine) {
            Err(error) if is_blamed(&error) => error,
            result => return result,
        };
        let failed = |reason| ScorerError::DeviceFailed { device: engine.device(), reason };
        if self.choice != DeviceChoice::Auto {
            // A number that is not finite, beside a right known answer, is the picture's: others can be scored.
            return Err(if let ScorerError::NotFinite(_) = failure { failure } else { failed(failure.to_string()) });
        }
        let reason = format!("fallback: {} failed twice while it worked: {failure}", engine.device());
        let cpu = Engine::prove(Arc::clone(&engine.model), on_cpu(reason, &self.setup))
            .map_err(|e| failed(format!("{failure}; {e}")))?;
        let result = work(&cpu);
        if result.is_ok() || !matches!(failure, ScorerError::NotFinite(_)) {
            self.leave(&engine, cpu);
        }
        result
    }

    fn leave(&self, failed: &Arc<Engine>, cpu: Engine) {
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been quicker.
        if Arc::ptr_eq(&engine, failed) {
            log::error!("from now on the CPU scores, more slowly: {}", cpu.reason);
            *engine = Arc::new(cpu);
        }
    }
}
