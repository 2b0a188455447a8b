//! The interface of all backends. Knows no device; every other module of the backend may import it.

use std::path::PathBuf;
use std::time::Duration;

use ndarray::ArrayD;

use super::precision::Precision;

/// Device name of the CPU.
pub(super) const CPU: &str = "cpu";

/// The values of one input of a graph.
#[derive(Debug, Clone)]
pub enum Input {
    /// 32-bit floats.
    F32(ArrayD<f32>),
    /// 64-bit integers, such as token ids.
    I64(ArrayD<i64>),
}

/// Number of images, texts or pairs in each run of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// Always this number: the backend may optimise the graph for it.
    Fixed(usize),
    /// Any number; may change from run to run.
    Any,
}

/// Options that every backend receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendOptions {
    /// Precision of large products, if the device supports it; see [`Precision`].
    pub precision: Precision,
    /// Directory in which prepared graphs are cached for the next start; `None` disables the cache.
    pub cache_dir: Option<PathBuf>,
    /// Time limit for one run of a graph on a GPU. A driver that takes longer is not used again.
    pub gpu_timeout: Duration,
}

impl BackendOptions {
    /// Default of `gpu_timeout` in seconds. A run takes milliseconds; with the largest models on the smallest boards it takes a few
    /// seconds.
    pub const GPU_TIMEOUT_S: u64 = 30;
}

impl Default for BackendOptions {
    fn default() -> Self {
        let gpu_timeout = Duration::from_secs(Self::GPU_TIMEOUT_S);
        Self { precision: Precision::default(), cache_dir: None, gpu_timeout }
    }
}

/// Name and digest of a graph's file.
#[derive(Debug, Clone, Copy)]
pub struct GraphFile<'a> {
    /// File name, for messages.
    pub name: &'a str,
    /// Digest of the file's bytes; the key of the prepared graph in the cache.
    pub digest: &'a str,
}

/// Batch size, number of streams and need of known answers for using a device well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Images in each run of the image encoder.
    pub image_batch: usize,
    /// Number of runs of the image encoder that may be in progress at the same time, each in its own thread.
    pub streams: usize,
    /// Whether the device may return wrong results without an error. An input with a known answer is then added to every run.
    pub needs_known_answers: bool,
}

/// Why a device cannot be used or a graph cannot be run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackendError {
    /// The device is missing or cannot be used at the moment; a later attempt may succeed.
    #[error("{device} cannot be used: {reason}")]
    Unavailable {
        /// Name of the device, such as `cuda`.
        device: String,
        /// Names the missing part and the way to install it.
        reason: String,
    },
    /// This program was built without support for the device.
    #[error("{device} cannot be used: {reason}")]
    NotBuilt {
        /// Name of the device, such as `cuda`.
        device: String,
        /// How to build a program with support for it.
        reason: String,
    },
    /// The graph cannot be prepared.
    #[error("{graph} cannot be prepared for {device}: {reason}")]
    Load {
        /// Name of the device, such as `cuda`.
        device: String,
        /// File name of the graph, such as `image_encoder.onnx`.
        graph: String,
        /// Message of the runtime that prepares the graph.
        reason: String,
    },
    /// The graph failed while running.
    #[error("{graph} failed on {device}: {reason}")]
    Run {
        /// Name of the device, such as `cuda`.
        device: String,
        /// File name of the graph, such as `image_encoder.onnx`.
        graph: String,
        /// Message of the runtime that runs the graph.
        reason: String,
    },
}

impl BackendError {
    /// Returns whether a later attempt may succeed, because the device may be the cause rather than the program or the graph.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NotBuilt { .. } => false,
            Self::Unavailable { .. } | Self::Run { .. } => true,
            // The CPU is always available, so a graph that it cannot prepare is at fault itself.
            Self::Load { device, .. } => device != CPU,
        }
    }
}

/// A device and the runtime that runs graphs on it.
pub trait Backend: Send + Sync {
    /// Device name, such as `cpu` or `cuda`.
    fn device(&self) -> &'static str;

    /// Effective precision; may differ from the requested one.
    fn precision(&self) -> Precision;

    /// Returns how to use the device well.
    fn policy(&self) -> Policy;

    /// Returns the prepared graph from the cache, without reading the ONNX file; `None` if it is missing or damaged.
    fn load_prepared(&self, _file: GraphFile<'_>, _batch: BatchSize) -> Option<Box<dyn Graph>> {
        None
    }

    /// Prepares an ONNX graph whose batch dimension is the symbol `N`.
    ///
    /// # Errors
    /// [`BackendError::Load`].
    fn load(&self, file: GraphFile<'_>, onnx: Vec<u8>, batch: BatchSize) -> Result<Box<dyn Graph>, BackendError>;
}

/// A graph that is ready to run on a device. Several threads may run it at the same time.
pub trait Graph: Send + Sync {
    /// Runs the graph. Inputs and outputs are in the graph's order; there is at least one output.
    ///
    /// # Errors
    /// [`BackendError::Run`].
    fn run(&self, inputs: Vec<Input>) -> Result<Vec<ArrayD<f32>>, BackendError>;

    /// Runs the graph and returns the time of each operator; empty if the device does not report operator times.
    ///
    /// # Errors
    /// [`BackendError::Run`].
    fn profile(&self, _inputs: Vec<Input>) -> Result<Vec<OperatorTime>, BackendError> {
        Ok(Vec::new())
    }
}

/// The time of one operator in one run of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorTime {
    /// Type of the operator, as the runtime names it.
    pub operator: String,
    /// Shapes of the operator's inputs and of its output.
    pub shapes: String,
    /// Wall-clock time of the operator in this run.
    pub time: Duration,
}

/// A fact about the GPU, its driver or one of its libraries.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fact {
    /// Name of the component, such as a library.
    pub name: String,
    /// Version or description of the component, or why it cannot be used.
    pub found: Result<String, String>,
}
