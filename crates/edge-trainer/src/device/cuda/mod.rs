//! NVIDIA GPUs by burn's CUDA backend, with the `train-cuda` feature; without it a twin that says so.

#[cfg(not(feature = "train-cuda"))]
mod disabled;
#[cfg(feature = "train-cuda")]
mod enabled;

#[cfg(not(feature = "train-cuda"))]
pub(super) use disabled::{keep_kernels_in, probe, run};
#[cfg(feature = "train-cuda")]
pub(super) use enabled::{keep_kernels_in, probe, run};
