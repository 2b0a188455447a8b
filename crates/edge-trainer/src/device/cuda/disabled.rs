//! Replaces the CUDA functions in builds without the `train-cuda` feature.

use std::path::Path;

use crate::device::train_device::{DeviceError, DeviceTask, TrainDevice};

/// Does nothing: this build compiles no GPU kernels.
pub(in crate::device) fn keep_kernels_in(_dir: &Path) {}

/// Always returns an error: this build has no CUDA support.
pub(in crate::device) fn probe(index: usize) -> Result<TrainDevice, DeviceError> {
    Err(unsupported(index))
}

/// Always returns an error: this build has no CUDA support.
pub(in crate::device) fn run<T: DeviceTask>(index: usize, _task: T) -> Result<T::Output, DeviceError> {
    Err(unsupported(index))
}

fn unsupported(index: usize) -> DeviceError {
    let reason = "this edge-trainer was built without CUDA. Build it with `cargo build --release -p edge-trainer --features train-cuda`";
    DeviceError { device: format!("cuda:{index}"), reason: reason.to_owned() }
}
