//! The CPU, by tract.

use std::num::NonZeroUsize;

use tract_onnx::tract_core::runtime::DefaultRuntime;

use super::Policy;
use super::tract::TractBackend;

/// The CPU backend. One image per run and one run per core: tract's kernels gain less from a batch than the batch costs in
/// cache, and single runs keep the latency of one image short.
pub(super) fn backend() -> TractBackend {
    let streams = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    TractBackend { device: "cpu", policy: Policy { image_batch: 1, streams }, runtime: &DefaultRuntime }
}
