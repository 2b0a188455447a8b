//! Runs a bundle's graphs on a device.
//!
//! Owns tract and, with the feature `cuda`, tract's CUDA runtime and cudarc. Other modules use [`Backend`] and [`Graph`] only. Nothing
//! here depends on the meaning of a graph: [`crate::scorer`] replays the goldens and decides whether a device is used.
//!
//! Imports run one way: `choice` -> `cpu`, `cuda` -> `tract` -> `interface` -> `precision`.

pub mod choice;
mod cpu;
mod cuda;
mod interface;
mod precision;
mod tract;

pub use choice::{ChosenBackend, DeviceChoice};
pub use cuda::BUILT_FOR_CUDA;
pub use interface::{
    Backend, BackendError, BackendOptions, BatchSize, Fact, Graph, GraphFile, Input, OperatorTime, Policy,
};
pub use precision::Precision;

/// Sets `NVIDIA_TF32_OVERRIDE=0` in the environment, which makes NVIDIA's libraries multiply 32-bit numbers at full precision.
///
/// `main` calls this before it starts a thread. In a process that has several threads it does nothing; the variable must then be set
/// before the process starts.
pub fn prepare_process() {
    cuda::prepare_process();
}

/// Returns the versions of the CUDA driver and libraries and a description of the first GPU; empty in a program without CUDA. May take
/// long, and may end the process if the driver is broken.
pub fn cuda_facts() -> Vec<Fact> {
    cuda::facts()
}
