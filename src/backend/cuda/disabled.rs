//! The twin for builds without the `cuda` feature.

use crate::backend::BackendError;
use crate::backend::tract::TractBackend;

/// Always refuses.
pub(in crate::backend) fn backend() -> Result<TractBackend, BackendError> {
    Err(BackendError::Unavailable {
        device: "cuda".to_owned(),
        reason: "this edge-scorer was built without CUDA. Build it with `cargo build --release --features cuda`"
            .to_owned(),
    })
}
