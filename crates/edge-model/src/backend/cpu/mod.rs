//! The CPU backend: tract, with our own operators on x86 processors with AVX2 or AVX-512.

mod attention;
mod constants;
mod convolution;
mod depthwise;
mod operator;
mod prepared;
mod product;
mod rewrite;
mod rows;
mod storage;
mod weighted_sums;
mod windows;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ndarray::ArrayD;
use prost::Message;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{Framework, InferenceModelExt, Runnable, Runtime, TractResult};
use tract_onnx::tract_core::runtime::DefaultRuntime;

use self::prepared::{CachedFile, PreparedGraph};
use self::product::ProductKernels;
use super::interface::{
    Backend, BackendError, BackendOptions, BatchSize, CPU, Graph, GraphFile, Input, OperatorTime, Policy,
};
use super::precision::Precision;
use super::tract::{for_batch, prepare, profile, run};

/// Returns the CPU backend. It computes in the requested precision if the processor has a kernel for it, else in f32.
///
/// Each run encodes one image, and each core performs one run at a time. Larger batches would lose more time to cache misses than
/// their products gain, and would take longer for a single image.
pub(super) fn backend(options: &BackendOptions) -> impl Backend + use<> {
    let streams = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let policy = Policy { image_batch: 1, streams, needs_known_answers: false };
    Cpu { policy, kernels: ProductKernels::best(options.precision), cache_dir: options.cache_dir.clone() }
}

struct Cpu {
    policy: Policy,
    /// The product kernels; `None` on a processor without any, where tract computes everything.
    kernels: Option<ProductKernels>,
    cache_dir: Option<PathBuf>,
}

impl Backend for Cpu {
    fn device(&self) -> &'static str {
        CPU
    }

    fn precision(&self) -> Precision {
        self.kernels.map_or(Precision::F32, |kernels| kernels.precision())
    }

    fn policy(&self) -> Policy {
        self.policy
    }

    fn load_prepared(&self, file: GraphFile<'_>, batch: BatchSize) -> Option<Box<dyn Graph>> {
        let kernels = self.kernels.as_ref()?;
        let prepared = CachedFile::of(self.cache_dir.as_ref()?, file.digest, kernels).read()?;
        match runnable(&prepared, kernels, batch) {
            Ok(runnable) => Some(CpuGraph::boxed(file, runnable)),
            Err(error) => {
                log::warn!(
                    "{}: the prepared graph in the cache cannot be used ({error:#}); the graph is prepared again",
                    file.name
                );
                None
            }
        }
    }

    fn load(&self, file: GraphFile<'_>, onnx: Vec<u8>, batch: BatchSize) -> Result<Box<dyn Graph>, BackendError> {
        let fail = |reason| BackendError::Load { device: CPU.to_owned(), graph: file.name.to_owned(), reason };
        let Some(kernels) = &self.kernels else {
            let runnable = prepare(&DefaultRuntime, &onnx, batch, Precision::F32).map_err(fail)?;
            return Ok(CpuGraph::boxed(file, runnable));
        };
        let mut graph = ModelProto::decode(&*onnx).map_err(|e| fail(e.to_string()))?;
        drop(onnx);
        if let Some(name) = graph.graph.iter().flat_map(|graph| &graph.node).find_map(operator::is_ours) {
            return Err(fail(format!("{name} is not an ONNX operator")));
        }
        let constants = rewrite::rewrite(&mut graph, kernels);
        let prepared = PreparedGraph { graph, constants };
        if let Some(dir) = &self.cache_dir {
            prepared::cache(&CachedFile::of(dir, file.digest, kernels), &prepared);
        }
        let runnable = runnable(&prepared, kernels, batch).map_err(|e| fail(format!("{e:#}")))?;
        Ok(CpuGraph::boxed(file, runnable))
    }
}

/// Makes a prepared graph, which contains our own operators, ready to run.
fn runnable(prepared: &PreparedGraph, kernels: &ProductKernels, batch: BatchSize) -> TractResult<Box<dyn Runnable>> {
    let mut framework = tract_onnx::onnx();
    operator::register(&mut framework.op_register);
    let mut model = framework.model_for_proto_model(&prepared.graph)?.into_typed()?;
    operator::complete(&mut model, &prepared.constants, kernels);
    DefaultRuntime.prepare(for_batch(model, batch)?.into_decluttered()?)
}

struct CpuGraph {
    name: String,
    runnable: Box<dyn Runnable>,
}

impl CpuGraph {
    fn boxed(file: GraphFile<'_>, runnable: Box<dyn Runnable>) -> Box<dyn Graph> {
        Box::new(Self { name: file.name.to_owned(), runnable })
    }
}

impl Graph for CpuGraph {
    fn run(&self, inputs: Vec<Input>) -> Result<Vec<ArrayD<f32>>, BackendError> {
        let fail = |reason| BackendError::Run { device: CPU.to_owned(), graph: self.name.clone(), reason };
        run(&*self.runnable, inputs).map_err(fail)
    }

    fn profile(&self, inputs: Vec<Input>) -> Result<Vec<OperatorTime>, BackendError> {
        let fail = |reason| BackendError::Run { device: CPU.to_owned(), graph: self.name.clone(), reason };
        profile(&*self.runnable, inputs).map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayD;

    use super::*;

    fn bits(outputs: &[ArrayD<f32>]) -> Vec<u32> {
        outputs.iter().flatten().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn our_own_operators_are_no_part_of_a_file() {
        if ProductKernels::or_skip(Precision::F32, "backend::cpu, our own operators in a file").is_none() {
            return;
        }
        let onnx = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/small/quality_head.onnx")).unwrap();
        let mut graph = ModelProto::decode(&*onnx).unwrap();
        graph.graph.as_mut().unwrap().node[0].op_type = "WindowProduct".to_owned();
        let file = GraphFile { name: "quality_head.onnx", digest: "" };
        let refused =
            backend(&BackendOptions::default()).load(file, graph.encode_to_vec(), BatchSize::Any).err().unwrap();
        assert!(refused.to_string().contains("WindowProduct is not an ONNX operator"), "{refused}");
    }

    #[test]
    fn a_graph_from_the_cache_answers_as_the_one_from_the_file() {
        let onnx = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/small/text_encoder.onnx")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for precision in [Precision::F32, Precision::Int8] {
            let cpu = backend(&BackendOptions {
                precision,
                cache_dir: Some(dir.path().join(precision.to_string())),
                ..BackendOptions::default()
            });
            let file = GraphFile { name: "text_encoder.onnx", digest: "one" };
            assert!(cpu.load_prepared(file, BatchSize::Fixed(1)).is_none());
            let first = cpu.load(file, onnx.clone(), BatchSize::Fixed(1)).unwrap();
            if ProductKernels::or_skip(precision, "backend::cpu, the cache").is_none() {
                return;
            }
            let ids = ArrayD::from_shape_fn(vec![1, 77], |at| if at[1] < 6 { 3 + at[1] as i64 } else { 0 });
            let answers = first.run(vec![Input::I64(ids.clone())]).unwrap();
            let again = cpu.load_prepared(file, BatchSize::Fixed(1)).unwrap();
            assert_eq!(bits(&again.run(vec![Input::I64(ids.clone())]).unwrap()), bits(&answers));
            // The batch size is chosen at each start, not when the graph is cached.
            let any = cpu.load_prepared(file, BatchSize::Any).unwrap();
            let two = ndarray::concatenate![ndarray::Axis(0), ids, ids];
            assert_eq!(bits(&any.run(vec![Input::I64(two)]).unwrap())[..answers[0].len()], bits(&answers)[..]);
            assert!(cpu.load_prepared(GraphFile { digest: "two", ..file }, BatchSize::Any).is_none());
        }
    }
}
