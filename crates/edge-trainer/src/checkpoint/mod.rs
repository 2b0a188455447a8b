//! The run directory of a training: options, inputs, figures of every epoch, tokenizer, best weights in f32, and the
//! state from which the training is resumed.

mod error;
mod run_directory;
mod state;
mod weights;

pub use error::CheckpointError;
pub use run_directory::{CONFIG, METRICS, MODEL, ModelFile, RunDirectory, RunRecord, load, read_about};
pub use state::{LossSums, StateDirectory, TrainProgress, WeightSet};
