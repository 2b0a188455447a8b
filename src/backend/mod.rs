//! Runs a bundle's graphs on a device.
//!
//! Owns tract (and, with the `cuda` feature, its CUDA runtime). Everything above sees [`Backend`] and [`Graph`] only. Nothing
//! here knows what a graph means: which device proves itself on the goldens is decided by [`crate::scorer`].

pub mod choice;
mod cpu;
mod cuda;
mod tract;

pub use choice::{Chosen, DeviceChoice};

use ndarray::ArrayD;

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

/// How a device likes its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Images per run of the image encoder.
    pub image_batch: usize,
    /// Runs of the image encoder that may go on at the same time, each on a thread of its own.
    pub streams: usize,
}

/// Why a device cannot be used or a graph cannot be run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackendError {
    /// The device is not there or not usable.
    #[error("{device} cannot be used: {reason}")]
    Unavailable {
        /// The device.
        device: String,
        /// What is missing and how to get it.
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

/// A device with its engine.
pub trait Backend: Send + Sync {
    /// Name of the device, such as `cpu` or `cuda`.
    fn device(&self) -> &'static str;

    /// How the device likes its work.
    fn policy(&self) -> Policy;

    /// Prepares an ONNX graph whose batch dimension is the symbol `N`. `name` serves messages.
    ///
    /// # Errors
    /// [`BackendError::Load`].
    fn load(&self, name: &str, onnx: &[u8], batch: Batch) -> Result<Box<dyn Graph>, BackendError>;
}

/// A prepared graph. Runs may go on in several threads at once.
pub trait Graph: Send + Sync {
    /// Runs the graph on its inputs in their order and returns its outputs in theirs; there is at least one.
    ///
    /// # Errors
    /// [`BackendError::Run`].
    fn run(&self, inputs: Vec<Input>) -> Result<Vec<ArrayD<f32>>, BackendError>;
}
