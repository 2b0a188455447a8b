//! The CUDA backend: tract's CUDA runtime. The driver and the libraries are opened at run time, so the program starts without them.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::time::Duration;

use ndarray::ArrayD;
use tract_onnx::prelude::{Runnable, Runtime, runtime_for_name};

use super::driver_thread::DriverThread;
use crate::backend::interface::{Backend, BackendError, BackendOptions, BatchSize, Graph, GraphFile, Input, Policy};
use crate::backend::precision::Precision;
use crate::backend::tract::{prepare, run};

// The crate registers its runtime when it is linked; without this import the linker would drop it.
use tract_cuda as _;

const DEVICE: &str = "cuda";
pub(super) static DRIVER: DriverThread = DriverThread::new(DEVICE);

/// Environment variable that NVIDIA's libraries read when they are opened. Unless it is 0, cuDNN rounds the inputs of 32-bit convolutions
/// to TF32, which has a fraction of ten bits. tract has no option to prevent this. On an H200 this changed the shipped model's embeddings
/// by 0.019; with the variable set to 0, the difference was 6e-5.
const TF32: &str = "NVIDIA_TF32_OVERRIDE";

/// Time limit for loading a graph. The first start on a device compiles a few hundred GPU kernels, which takes minutes on small boards.
const LOAD_LIMIT: Duration = Duration::from_secs(900);

/// Images in each run: enough to keep a small GPU's cores busy, and few enough to fit in its memory.
const IMAGE_BATCH: usize = 32;

/// Returns the backend of the first CUDA device, or an error if the driver, a library or the device is missing.
pub(in crate::backend) fn backend(options: &BackendOptions) -> Result<Box<dyn Backend>, BackendError> {
    let unavailable = |reason| BackendError::Unavailable { device: DEVICE.to_owned(), reason };
    let check = || runtime()?.check().map_err(|e| format!("{e:#}"));
    if env::var_os(TF32).is_none_or(|value| value != "0") {
        log::warn!(
            "{TF32} is not 0 in the environment, so the GPU may round 32-bit convolutions to TF32. Set {TF32}=0 and restart"
        );
    }
    DRIVER.call(LOAD_LIMIT, check).map_err(unavailable)?;
    // The CUDA backend does not support int8; f16 is the next wider precision.
    let precision = if options.precision == Precision::F32 { Precision::F32 } else { Precision::F16 };
    Ok(Box::new(Cuda { precision, run_limit: options.gpu_timeout }))
}

/// See [`crate::backend::prepare_process`].
pub(in crate::backend) fn prepare_process() {
    if env::var_os(TF32).is_some() || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) != 1 {
        return;
    }
    // SAFETY: this is the only thread of the process, so no other thread reads the environment at the same time.
    unsafe { env::set_var(TF32, "0") };
}

fn runtime() -> Result<&'static dyn Runtime, String> {
    let found = runtime_for_name("cuda").map_err(|e| format!("{e:#}"))?;
    found.ok_or_else(|| "tract has not registered its CUDA runtime".to_owned())
}

struct Cuda {
    precision: Precision,
    run_limit: Duration,
}

impl Backend for Cuda {
    fn device(&self) -> &'static str {
        DEVICE
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn policy(&self) -> Policy {
        Policy { image_batch: IMAGE_BATCH, streams: 1, needs_known_answers: true }
    }

    fn load(&self, file: GraphFile<'_>, onnx: Vec<u8>, batch: BatchSize) -> Result<Box<dyn Graph>, BackendError> {
        let (name, precision) = (file.name, self.precision);
        let runnable = DRIVER.call(LOAD_LIMIT, move || prepare(runtime()?, &onnx, batch, precision));
        if let Ok(runnable) = &runnable {
            log::info!("{name}: {}", placement(&**runnable));
        }
        let fail = |reason| BackendError::Load { device: DEVICE.to_owned(), graph: name.to_owned(), reason };
        let runnable = Some(runnable.map_err(fail)?.into());
        Ok(Box::new(CudaGraph { name: name.to_owned(), runnable, run_limit: self.run_limit }))
    }
}

/// Describes which operators of a graph run on the GPU. An operator without a CUDA implementation in tract runs on the CPU, and
/// its data are copied from the GPU to the CPU and back.
fn placement(runnable: &dyn Runnable) -> String {
    let Some(model) = runnable.typed_model() else {
        return "the devices of the graph's operators are unknown".to_owned();
    };
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
    format!(
        "{} operators on the GPU, {copies} copies between GPU and CPU; operators on the CPU: {host}",
        on_device.len()
    )
}

struct CudaGraph {
    name: String,
    /// The graph as tract runs it; `None` only while this value is being dropped.
    runnable: Option<Arc<dyn Runnable>>,
    run_limit: Duration,
}

impl Graph for CudaGraph {
    fn run(&self, inputs: Vec<Input>) -> Result<Vec<ArrayD<f32>>, BackendError> {
        let fail = |reason| BackendError::Run { device: DEVICE.to_owned(), graph: self.name.clone(), reason };
        let runnable = self.runnable.clone().ok_or_else(|| fail("the graph is being closed".to_owned()))?;
        DRIVER.call(self.run_limit, move || run(&*runnable, inputs)).map_err(fail)
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        DRIVER.dispose(self.runnable.take());
    }
}
