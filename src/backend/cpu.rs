//! The CPU, by tract.

use std::num::NonZeroUsize;

use tract_onnx::prelude::Runnable;
use tract_onnx::tract_core::runtime::DefaultRuntime;

use super::tract::{prepare, run};
use super::{ArrayD, Backend, BackendError, Batch, Graph, Input, Policy, Precision};

pub(super) const DEVICE: &str = "cpu";

/// The CPU backend. One image per run and one run per core: tract's kernels gain less from a batch than the batch costs in
/// cache, and single runs keep the latency of one image short.
pub(super) fn backend() -> impl Backend {
    let streams = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Cpu(Policy { image_batch: 1, streams, needs_known_answers: false })
}

struct Cpu(Policy);

impl Backend for Cpu {
    fn device(&self) -> &'static str {
        DEVICE
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn policy(&self) -> Policy {
        self.0
    }

    fn load(&self, name: &str, onnx: &[u8], batch: Batch) -> Result<Box<dyn Graph>, BackendError> {
        let fail = |reason| BackendError::Load { device: DEVICE.to_owned(), graph: name.to_owned(), reason };
        let runnable = prepare(&DefaultRuntime, onnx, batch, Precision::F32).map_err(fail)?;
        Ok(Box::new(CpuGraph { name: name.to_owned(), runnable }))
    }
}

struct CpuGraph {
    name: String,
    runnable: Box<dyn Runnable>,
}

impl Graph for CpuGraph {
    fn run(&self, inputs: Vec<Input>) -> Result<Vec<ArrayD<f32>>, BackendError> {
        let fail = |reason| BackendError::Run { device: DEVICE.to_owned(), graph: self.name.clone(), reason };
        run(&*self.runnable, inputs).map_err(fail)
    }
}
