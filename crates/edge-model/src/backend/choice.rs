//! The order in which devices are tried, and the reason for the device that was chosen.

use std::fmt;
use std::str::FromStr;

use super::interface::{Backend, BackendError, BackendOptions};
use super::{cpu, cuda};

/// The device that the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// CUDA if it works, else the CPU.
    #[default]
    Auto,
    /// The CPU, even if a GPU works.
    Cpu,
    /// CUDA; an error if it does not work.
    Cuda,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            _ => Err(format!("{text:?} is not a device: use auto, cpu or cuda")),
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

/// A backend and the reason for its choice.
pub struct ChosenBackend {
    /// Runs graphs on the chosen device.
    pub backend: Box<dyn Backend>,
    /// The reason, for the log, `status` and the database.
    pub reason: String,
}

impl fmt::Debug for ChosenBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.backend.device(), self.reason)
    }
}

/// Offers the backends of `choice` to `accept`, in order of preference, and returns the first value that `accept` builds.
///
/// `accept` returns a value that it built on the backend, such as a model whose goldens were replayed, or an error that says why the
/// backend cannot be used. A device that does not support `options.precision` uses the next wider precision that it supports.
///
/// # Errors
/// The error of the last backend that was tried.
pub fn first_accepted<T, E: From<BackendError> + fmt::Display>(
    choice: DeviceChoice,
    options: &BackendOptions,
    mut accept: impl FnMut(ChosenBackend) -> Result<T, E>,
) -> Result<T, E> {
    let asked_for = || "asked for".to_owned();
    let on_cpu = |reason| on_cpu(reason, options);
    let cuda = |reason| Ok::<_, BackendError>(ChosenBackend { backend: cuda::backend(options)?, reason });
    match choice {
        DeviceChoice::Cpu => accept(on_cpu(asked_for())),
        DeviceChoice::Cuda => accept(cuda(asked_for())?),
        DeviceChoice::Auto => {
            let tried = cuda("CUDA is available".to_owned()).map_err(E::from).and_then(&mut accept);
            tried.or_else(|refusal| accept(on_cpu(format!("fallback: {refusal}"))))
        }
    }
}

/// Returns the CPU backend, chosen for `reason`.
pub fn on_cpu(reason: String, options: &BackendOptions) -> ChosenBackend {
    ChosenBackend { backend: Box::new(cpu::backend(options)), reason }
}
