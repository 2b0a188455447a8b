//! NVIDIA GPUs through tract's CUDA runtime, with the feature `cuda` or `cuda-13`. Without either feature, the backend is an
//! error that says how to build the program with CUDA.

#[cfg(not(feature = "cuda-any"))]
mod disabled;
#[cfg(feature = "cuda-any")]
mod driver_thread;
#[cfg(feature = "cuda-any")]
mod enabled;
#[cfg(feature = "cuda-any")]
mod facts;

#[cfg(not(feature = "cuda-any"))]
pub(super) use disabled::{backend, facts, prepare_process};
#[cfg(feature = "cuda-any")]
pub(super) use enabled::{backend, prepare_process};
#[cfg(feature = "cuda-any")]
pub(super) use facts::facts;

/// Major version of the CUDA libraries that this program is built for; `None` without the features `cuda` and `cuda-13`.
pub const BUILT_FOR_CUDA: Option<u32> = match (cfg!(feature = "cuda-13"), cfg!(feature = "cuda-any")) {
    (true, _) => Some(13),
    (false, true) => Some(12),
    (false, false) => None,
};
