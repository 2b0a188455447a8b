//! NVIDIA GPUs through burn's CUDA backend, with the `train-cuda` feature. Without the feature every request returns an
//! error.

#[cfg(not(feature = "train-cuda"))]
mod disabled;
#[cfg(feature = "train-cuda")]
mod enabled;

#[cfg(not(feature = "train-cuda"))]
pub(super) use disabled::{keep_kernels_in, probe, run};
#[cfg(feature = "train-cuda")]
pub(super) use enabled::{keep_kernels_in, probe, run};
