//! Chooses the device, and replaces a device that fails in use: one retry on the same device, then the CPU for good.

use std::sync::{Arc, PoisonError, RwLock};

use super::device_model::DeviceModel;
use super::error::ScorerError;
use super::model::Model;
use super::replay::prove;
use crate::backend::choice::{first_accepted, on_cpu};
use crate::backend::{BackendOptions, DeviceChoice};

/// The model on the device in use, with the device choice and the backend options. The CPU uses the same options if it takes over.
pub(super) struct Failover {
    choice: DeviceChoice,
    options: BackendOptions,
    current: RwLock<Arc<DeviceModel>>,
}

impl Failover {
    /// Proves the model on the first device of `choice` that accepts it.
    pub(super) fn open(
        model: &Arc<Model>,
        choice: DeviceChoice,
        options: &BackendOptions,
    ) -> Result<Self, ScorerError> {
        let first = first_accepted(choice, options, |chosen| prove(Arc::clone(model), chosen))?;
        Ok(Self::new(choice, options.clone(), first))
    }

    pub(super) fn new(choice: DeviceChoice, options: BackendOptions, first: DeviceModel) -> Self {
        Self { choice, options, current: RwLock::new(Arc::new(first)) }
    }

    /// The model on the device in use.
    pub(super) fn current(&self) -> Arc<DeviceModel> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` on the device in use and returns its result. If `work` fails and the device may be the cause, `work` is tried
    /// once more there. If it fails again and the choice was [`DeviceChoice::Auto`], the CPU runs `work` and replaces the device for good.
    ///
    /// # Errors
    /// The error of `work`; [`ScorerError::DeviceFailed`] if no other device can take over.
    pub(super) fn attempt<T>(&self, work: impl Fn(&DeviceModel) -> Result<T, ScorerError>) -> Result<T, ScorerError> {
        let current = self.current();
        let is_blamed = |error: &ScorerError| current.policy().needs_known_answers && error.may_be_the_devices();
        match work(&current) {
            Err(error) if is_blamed(&error) => {
                log::warn!("a run on {} failed and is tried once more: {error}", current.device());
            }
            result => return result,
        }
        let failure = match work(&current) {
            Err(error) if is_blamed(&error) => error,
            result => return result,
        };
        let failed = |reason| ScorerError::DeviceFailed { device: current.device(), reason };
        if self.choice != DeviceChoice::Auto {
            // The known answer was right, so the image itself is the cause of a value that is not finite. Other images can be
            // scored.
            return Err(if let ScorerError::NotFinite(_) = failure { failure } else { failed(failure.to_string()) });
        }
        let reason = format!("fallback: {} failed twice in use: {failure}", current.device());
        let cpu = prove(Arc::clone(&current.model), on_cpu(reason, &self.options))
            .map_err(|e| failed(format!("{failure}; {e}")))?;
        let result = work(&cpu);
        if result.is_ok() || !matches!(failure, ScorerError::NotFinite(_)) {
            self.replace(&current, cpu);
        }
        result
    }

    fn replace(&self, failed: &Arc<DeviceModel>, cpu: DeviceModel) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have replaced the device already.
        if Arc::ptr_eq(&current, failed) {
            log::error!(
                "scoring is slower from now on, because it runs on the CPU ({}). After a restart, {} is tried again",
                cpu.reason,
                failed.device()
            );
            *current = Arc::new(cpu);
        }
    }
}
