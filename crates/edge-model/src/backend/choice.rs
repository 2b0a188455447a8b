//! Which device is tried in which order, and why one was passed over.

use std::fmt;
use std::str::FromStr;

use super::{Backend, BackendError, Setup, cpu, cuda};

/// The device that the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// CUDA where it works, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// CUDA or nothing.
    Cuda,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            _ => Err(format!("{text:?} is no device: use auto, cpu or cuda")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

/// A backend and why it was chosen.
pub struct Chosen {
    /// The backend.
    pub backend: Box<dyn Backend>,
    /// The reason, for the log, `status` and the database.
    pub reason: String,
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.backend.device(), self.reason)
    }
}

/// The first backend of `choice`, in the order of preference, that `accept` takes. `accept` is given the backend and answers
/// with what it made of it (such as a model whose goldens were replayed) or why it cannot serve. A device that cannot compute in
/// `setup.precision` computes in the next wider one that it can.
///
/// # Errors
/// The refusal of the last backend that was tried.
pub fn first_accepted<T, E: From<BackendError> + fmt::Display>(
    choice: DeviceChoice,
    setup: &Setup,
    mut accept: impl FnMut(Chosen) -> Result<T, E>,
) -> Result<T, E> {
    let asked_for = || "asked for".to_owned();
    let on_cpu = |reason| on_cpu(reason, setup);
    let cuda = |reason| Ok::<_, BackendError>(Chosen { backend: cuda::backend(setup.precision)?, reason });
    match choice {
        DeviceChoice::Cpu => accept(on_cpu(asked_for())),
        DeviceChoice::Cuda => accept(cuda(asked_for())?),
        DeviceChoice::Auto => {
            let tried = cuda("CUDA is available".to_owned()).map_err(E::from).and_then(&mut accept);
            tried.or_else(|refusal| accept(on_cpu(format!("fallback: {refusal}"))))
        }
    }
}

/// The CPU, for that reason.
pub fn on_cpu(reason: String, setup: &Setup) -> Chosen {
    Chosen { backend: Box::new(cpu::backend(setup)), reason }
}
