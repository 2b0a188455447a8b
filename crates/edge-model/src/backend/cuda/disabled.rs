//! Replaces the CUDA backend in builds without CUDA.

use crate::backend::interface::{Backend, BackendError, BackendOptions, Fact};

/// Always returns [`BackendError::NotBuilt`].
pub(in crate::backend) fn backend(_: &BackendOptions) -> Result<Box<dyn Backend>, BackendError> {
    let reason = "this program was built without CUDA. Build it with `cargo build --release --features cuda`";
    Err(BackendError::NotBuilt { device: "cuda".to_owned(), reason: reason.to_owned() })
}

/// Does nothing.
pub(in crate::backend) fn prepare_process() {}

/// Returns no facts.
pub(in crate::backend) fn facts() -> Vec<Fact> {
    Vec::new()
}
