//! The CUDA runtime of tract. Driver and libraries are opened at run time: the binary starts without them.

use tract_onnx::prelude::{Runtime, runtime_for_name};

use crate::backend::tract::TractBackend;
use crate::backend::{BackendError, Policy};

// Named so that the linker keeps the crate, which registers its runtime by itself.
use tract_cuda as _;

/// The first CUDA device, when driver and libraries are there.
pub(in crate::backend) fn backend() -> Result<TractBackend, BackendError> {
    let unavailable = |reason: String| BackendError::Unavailable { device: "cuda".to_owned(), reason };
    let runtime: &'static dyn Runtime = runtime_for_name("cuda")
        .map_err(|e| unavailable(format!("{e:#}")))?
        .ok_or_else(|| unavailable("tract has not registered its CUDA runtime".to_owned()))?;
    runtime.check().map_err(|e| unavailable(format!("{e:#}")))?;
    Ok(TractBackend { device: "cuda", policy: Policy { image_batch: 8, streams: 1 }, runtime })
}
