//! The CPU, by tract, with products of our own.

mod attention;
mod operator;
mod product;
mod rewrite;
mod rows;

use std::num::NonZeroUsize;

use tract_onnx::prelude::{Framework, InferenceModelExt, Runnable, Runtime, TractResult};
use tract_onnx::tract_core::runtime::DefaultRuntime;

use super::tract::{for_batch, prepare, run};
use super::{ArrayD, Backend, BackendError, Batch, Graph, Input, Policy, Precision};
use product::Kernels;

pub(super) const DEVICE: &str = "cpu";

/// The CPU backend. One image per run and one run per core: a batch costs more in cache than its products gain, and single runs
/// keep the latency of one image short. It computes in `precision` where the processor has a kernel for it.
pub(super) fn backend(precision: Precision) -> impl Backend {
    let streams = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let policy = Policy { image_batch: 1, streams, needs_known_answers: false };
    Cpu { policy, kernels: Kernels::best(precision) }
}

struct Cpu {
    policy: Policy,
    /// `None` on a processor whose products are left to tract.
    kernels: Option<Kernels>,
}

impl Backend for Cpu {
    fn device(&self) -> &'static str {
        DEVICE
    }

    fn precision(&self) -> Precision {
        self.kernels.map_or(Precision::F32, |kernels| kernels.precision())
    }

    fn policy(&self) -> Policy {
        self.policy
    }

    fn load(&self, name: &str, onnx: &[u8], batch: Batch) -> Result<Box<dyn Graph>, BackendError> {
        let fail = |reason| BackendError::Load { device: DEVICE.to_owned(), graph: name.to_owned(), reason };
        let runnable = match &self.kernels {
            Some(kernels) => prepare_with(kernels, onnx, batch).map_err(|e| format!("{e:#}")),
            None => prepare(&DefaultRuntime, onnx, batch, Precision::F32),
        };
        let runnable = runnable.map_err(fail)?;
        Ok(Box::new(CpuGraph { name: name.to_owned(), runnable }))
    }
}

/// Lays an ONNX graph out with our own products in the places of those that [`rewrite`] finds.
fn prepare_with(kernels: &Kernels, mut onnx: &[u8], batch: Batch) -> TractResult<Box<dyn Runnable>> {
    let mut framework = tract_onnx::onnx();
    operator::register(&mut framework.op_register);
    let mut graph = framework.proto_model_for_read(&mut onnx)?;
    let weights = rewrite::rewrite(&mut graph, kernels);
    let mut model = framework.model_for_proto_model(&graph)?.into_typed()?;
    drop(graph);
    operator::complete(&mut model, &weights, kernels);
    DefaultRuntime.prepare(for_batch(model, batch)?.into_decluttered()?)
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
