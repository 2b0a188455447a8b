//! The CUDA runtime of tract. Driver and libraries are opened at run time: the binary starts without them.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::time::Duration;

use tract_onnx::prelude::{Runnable, Runtime, runtime_for_name};

use super::owner::Owner;
use crate::backend::tract::{prepare, run};
use crate::backend::{ArrayD, Backend, BackendError, Batch, Graph, GraphFile, Input, Policy, Precision};

// Named so that the linker keeps the crate, which registers its runtime by itself.
use tract_cuda as _;

const DEVICE: &str = "cuda";
pub(super) static OWNER: Owner = Owner::new(DEVICE);

/// Read by NVIDIA's libraries when they are opened. Without it cuDNN rounds what 32-bit convolutions take in to TF32's ten bits of
/// fraction, and tract has no way to ask it not to; on an H200 that moved the shipped model's embeddings by 0.019, against 6e-5 with it.
const TF32: &str = "NVIDIA_TF32_OVERRIDE";

/// The first start on a device compiles a few hundred kernels, which takes minutes on small boards.
const LONGEST_LOAD: Duration = Duration::from_secs(900);
/// A run takes milliseconds, of the largest models on the smallest boards a few seconds.
const LONGEST_RUN: Duration = Duration::from_secs(30);

/// Enough images to fill a small GPU's cores, few enough for its memory.
const IMAGE_BATCH: usize = 32;

/// The first CUDA device, when driver and libraries are there.
pub(in crate::backend) fn backend(precision: Precision) -> Result<Box<dyn Backend>, BackendError> {
    let unavailable = |reason| BackendError::Unavailable { device: DEVICE.to_owned(), reason };
    let check = || runtime()?.check().map_err(|e| format!("{e:#}"));
    if env::var_os(TF32).is_none_or(|value| value != "0") {
        log::warn!("{TF32}=0 is not in the environment: convolutions in 32 bits may be rounded to TF32");
    }
    OWNER.call(LONGEST_LOAD, check).map_err(unavailable)?;
    // No bytes here; the next wider numbers.
    Ok(Box::new(Cuda(if precision == Precision::F32 { precision } else { Precision::F16 })))
}

/// See [`crate::backend::prepare_process`].
pub(in crate::backend) fn prepare_process() {
    if env::var_os(TF32).is_some() || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) != 1 {
        return;
    }
    // SAFETY: this is the process's only thread, so nothing reads the environment meanwhile.
    unsafe { env::set_var(TF32, "0") };
}

fn runtime() -> Result<&'static dyn Runtime, String> {
    let found = runtime_for_name("cuda").map_err(|e| format!("{e:#}"))?;
    found.ok_or_else(|| "tract has not registered its CUDA runtime".to_owned())
}

struct Cuda(Precision);

impl Backend for Cuda {
    fn device(&self) -> &'static str {
        DEVICE
    }

    fn precision(&self) -> Precision {
        self.0
    }

    fn policy(&self) -> Policy {
        Policy { image_batch: IMAGE_BATCH, streams: 1, needs_known_answers: true }
    }

    fn load(&self, file: GraphFile<'_>, onnx: Vec<u8>, batch: Batch) -> Result<Box<dyn Graph>, BackendError> {
        let (name, precision) = (file.name, self.0);
        let runnable = OWNER.call(LONGEST_LOAD, move || prepare(runtime()?, &onnx, batch, precision));
        if let Ok(runnable) = &runnable {
            log::info!("{name}: {}", where_it_runs(&**runnable));
        }
        let fail = |reason| BackendError::Load { device: DEVICE.to_owned(), graph: name.to_owned(), reason };
        Ok(Box::new(CudaGraph { name: name.to_owned(), runnable: Some(runnable.map_err(fail)?.into()) }))
    }
}

/// How much of a graph the device does: what tract has no kernel for is done by the CPU, with a copy there and back.
fn where_it_runs(runnable: &dyn Runnable) -> String {
    let Some(model) = runnable.typed_model() else { return "its steps are not known".to_owned() };
    let names = model.nodes().iter().map(|node| node.op.name().into_owned());
    let (on_device, rest): (Vec<_>, Vec<_>) =
        names.partition(|name| name.starts_with("Cuda") || name.starts_with("Gpu"));
    let (mut on_host, mut copies) = (BTreeMap::<String, usize>::new(), 0);
    for name in rest {
        match name.as_str() {
            "Const" | "Source" => {}
            sync if sync.starts_with("DeviceSync") => copies += 1,
            _ => *on_host.entry(name).or_default() += 1,
        }
    }
    let list: Vec<_> = on_host.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let host = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    format!("{} steps on the device, {copies} copies, on the CPU {host}", on_device.len())
}

struct CudaGraph {
    name: String,
    /// Gone only while this is dropped.
    runnable: Option<Arc<dyn Runnable>>,
}

impl Graph for CudaGraph {
    fn run(&self, inputs: Vec<Input>) -> Result<Vec<ArrayD<f32>>, BackendError> {
        let fail = |reason| BackendError::Run { device: DEVICE.to_owned(), graph: self.name.clone(), reason };
        let runnable = self.runnable.clone().ok_or_else(|| fail("it is being closed".to_owned()))?;
        OWNER.call(LONGEST_RUN, move || run(&*runnable, inputs)).map_err(fail)
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        OWNER.dispose(self.runnable.take());
    }
}
