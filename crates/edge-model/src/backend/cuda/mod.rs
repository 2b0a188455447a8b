//! NVIDIA GPUs by tract's CUDA runtime, with the `cuda` or the `cuda-13` feature; without it a twin that says so.

#[cfg(not(feature = "cuda-any"))]
mod disabled;
#[cfg(feature = "cuda-any")]
mod enabled;
#[cfg(feature = "cuda-any")]
mod facts;
#[cfg(feature = "cuda-any")]
mod owner;

#[cfg(not(feature = "cuda-any"))]
pub(super) use disabled::{backend, facts, prepare_process};
#[cfg(feature = "cuda-any")]
pub(super) use enabled::{backend, prepare_process};
#[cfg(feature = "cuda-any")]
pub(super) use facts::facts;

/// The major version of the CUDA libraries that this program is built for; none without the features `cuda` and `cuda-13`.
pub const BUILT_FOR_CUDA: Option<u32> = match (cfg!(feature = "cuda-13"), cfg!(feature = "cuda-any")) {
    (true, _) => Some(13),
    (false, true) => Some(12),
    (false, false) => None,
};

/// What a GPU, or a library that works on it, says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fact {
    /// What was asked.
    pub name: String,
    /// Its version or description, or why it cannot be used.
    pub found: Result<String, String>,
}
