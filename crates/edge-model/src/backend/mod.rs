//! Runs a bundle's graphs on a device.
//!
//! Owns tract (and, with the `cuda` feature, its CUDA runtime). Everything above sees [`Backend`] and [`Graph`] only. Nothing
//! here knows what a graph means: which device proves itself on the goldens is decided by [`crate::scorer`].

pub mod choice;
mod cpu;
mod cuda;
mod precision;
mod tract;

pub use choice::{Chosen, DeviceChoice};
pub use cuda::{BUILT_FOR_CUDA, Fact};
pub use precision::Precision;

use std::path::PathBuf;
use std::time::Duration;

use ndarray::ArrayD;

/// Says to GPU libraries what they are only told by the environment: that numbers of 32 bits are to be multiplied as such. For `main` to
/// call before it starts a thread; in a process that has others already, nothing is done, and whoever starts it sets
/// `NVIDIA_TF32_OVERRIDE=0`.
pub fn prepare_process() {
    cuda::prepare_process();
}

/// An input of a graph.
#[derive(Debug, Clone)]
pub enum Input {
    /// 32-bit floats.
    F32(ArrayD<f32>),
    /// 64-bit integers, such as token ids.
    I64(ArrayD<i64>),
}

/// How many examples a graph is prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// Always this many: the backend may lay out the whole graph for it.
    Fixed(usize),
    /// Any number, decided at each run.
    Any,
}

/// What a backend is made with, whatever its device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// What large products are computed in, where the device can; see [`Precision`].
    pub precision: Precision,
    /// Where prepared graphs may be kept for the next start; nowhere without it.
    pub cache_dir: Option<PathBuf>,
}

/// A graph's file.
#[derive(Debug, Clone, Copy)]
pub struct GraphFile<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// Digest of its bytes, by which what was made of them is found again.
    pub digest: &'a str,
}

/// How a device likes its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Images per run of the image encoder.
    pub image_batch: usize,
    /// Runs of the image encoder that may go on at the same time, each on a thread of its own.
    pub streams: usize,
    /// Whether the device may answer wrongly without a word of it, so that an input whose answer is known goes with every run.
    pub needs_known_answers: bool,
}

/// Why a device cannot be used or a graph cannot be run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackendError {
    /// The device is not there or not usable now; it may be later.
    #[error("{device} cannot be used: {reason}")]
    Unavailable {
        /// The device.
        device: String,
        /// What is missing and how to get it.
        reason: String,
    },
    /// This program was built without the device's engine.
    #[error("{device} cannot be used: {reason}")]
    NotBuilt {
        /// The device.
        device: String,
        /// How to get one that was.
        reason: String,
    },
    /// The graph cannot be prepared.
    #[error("{graph} cannot be prepared for {device}: {reason}")]
    Load {
        /// The device.
        device: String,
        /// The graph's file name.
        graph: String,
        /// What the engine said.
        reason: String,
    },
    /// The graph failed while running.
    #[error("{graph} failed on {device}: {reason}")]
    Run {
        /// The device.
        device: String,
        /// The graph's file name.
        graph: String,
        /// What the engine said.
        reason: String,
    },
}

impl BackendError {
    /// Whether a later try may succeed: the device is at fault, or may be, not the program or the graph.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NotBuilt { .. } => false,
            Self::Unavailable { .. } | Self::Run { .. } => true,
            // The CPU is always there: what it cannot prepare it never will.
            Self::Load { device, .. } => device != cpu::DEVICE,
        }
    }
}

/// A device with its engine.
pub trait Backend: Send + Sync {
    /// Name of the device, such as `cpu` or `cuda`.
    fn device(&self) -> &'static str;

    /// What it computes in; not what was asked for where the device has that not.
    fn precision(&self) -> Precision;

    /// How the device likes its work.
    fn policy(&self) -> Policy;

    /// The graph as an earlier start prepared it, without its file's bytes; `None` where there is nothing of the kind or it is
    /// damaged.
    fn load_prepared(&self, _file: GraphFile<'_>, _batch: Batch) -> Option<Box<dyn Graph>> {
        None
    }

    /// Prepares an ONNX graph whose batch dimension is the symbol `N`.
    ///
    /// # Errors
    /// [`BackendError::Load`].
    fn load(&self, file: GraphFile<'_>, onnx: Vec<u8>, batch: Batch) -> Result<Box<dyn Graph>, BackendError>;
}

/// A prepared graph. Runs may go on in several threads at once.
pub trait Graph: Send + Sync {
    /// Runs the graph on its inputs in their order and returns its outputs in theirs; there is at least one.
    ///
    /// # Errors
    /// [`BackendError::Run`].
    fn run(&self, inputs: Vec<Input>) -> Result<Vec<ArrayD<f32>>, BackendError>;

    /// Runs the graph and says how long each of its operators took; nothing where the device does not tell.
    ///
    /// # Errors
    /// [`BackendError::Run`].
    fn profile(&self, _inputs: Vec<Input>) -> Result<Vec<OperatorTime>, BackendError> {
        Ok(Vec::new())
    }
}

/// What an operator of a graph took in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorTime {
    /// Its kind.
    pub operator: String,
    /// Shapes of its inputs and of its output.
    pub shapes: String,
    /// The time.
    pub time: Duration,
}

/// What driver, libraries and first device of a GPU say of themselves; nothing in a program without CUDA. May take long, and may
/// end the process where the driver is broken.
pub fn cuda_facts() -> Vec<Fact> {
    cuda::facts()
}
