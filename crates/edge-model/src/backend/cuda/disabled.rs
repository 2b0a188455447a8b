//! The twin for builds without the `cuda` feature.

use super::Fact;
use crate::backend::{Backend, BackendError, Precision};

/// Always refuses.
pub(in crate::backend) fn backend(_: Precision) -> Result<Box<dyn Backend>, BackendError> {
    Err(BackendError::NotBuilt {
        device: "cuda".to_owned(),
        reason: "this edge-scorer was built without CUDA. Build it with `cargo build --release --features cuda`"
            .to_owned(),
    })
}

/// There is nothing to prepare.
pub(in crate::backend) fn prepare_process() {}

/// Nothing.
pub(in crate::backend) fn facts() -> Vec<Fact> {
    Vec::new()
}
