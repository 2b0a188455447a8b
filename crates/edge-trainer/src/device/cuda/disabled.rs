//! The twin for builds without the `train-cuda` feature.

use std::path::Path;

use crate::device::{DeviceError, Place, Work};

/// There are none.
pub(in crate::device) fn keep_kernels_in(_dir: &Path) {}

/// Always refuses.
pub(in crate::device) fn probe(index: usize) -> Result<Place, DeviceError> {
    Err(refusal(index))
}

/// Always refuses.
pub(in crate::device) fn run<W: Work>(index: usize, _work: W) -> Result<W::Output, DeviceError> {
    Err(refusal(index))
}

fn refusal(index: usize) -> DeviceError {
    let reason =
        "this edge-trainer was built without CUDA. Build it with `cargo build --release --features train-cuda`";
    DeviceError { device: format!("cuda:{index}"), reason: reason.to_owned() }
}
