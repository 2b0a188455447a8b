//! The run directory: options, inputs, figures of every epoch, tokenizer, best weights in full precision, and the state
//! from which a training is resumed.

mod error;
mod run_directory;
mod state;
mod weights;

pub use error::CheckpointError;
pub use run_directory::{CONFIG, METRICS, MODEL, ModelFile, RunDirectory, RunRecord, load, read_about};
pub use state::{LossSums, StateDirectory, TrainProgress, WeightSet};
