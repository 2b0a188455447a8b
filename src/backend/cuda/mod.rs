//! NVIDIA GPUs by tract's CUDA runtime, with the `cuda` feature; without it a twin that says so.

#[cfg(not(feature = "cuda"))]
mod disabled;
#[cfg(feature = "cuda")]
mod enabled;

#[cfg(not(feature = "cuda"))]
pub(super) use disabled::backend;
#[cfg(feature = "cuda")]
pub(super) use enabled::backend;
