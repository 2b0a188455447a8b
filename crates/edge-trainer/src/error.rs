//! The error of a training command. It wraps the errors of the modules that the command uses.

use std::fmt::Display;
use std::path::Path;

use edge_model::scorer::ScorerError;

use super::assemble::AssembleError;
use super::backbone::BackboneError;
use super::cache::FeatureError;
use super::checkpoint::CheckpointError;
use super::dataset::{DataError, MakeError};
use super::device::DeviceError;
use super::evaluate::JudgeError;
use super::file_error::FileError;
use super::training::LearnError;

/// Error of a training command. A failed `fit` writes no bundle and leaves the output path unchanged.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The options contradict each other.
    #[error("the options are unusable: {0}")]
    Options(String),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The backbone cannot be used.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// The training failed or was stopped.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// The run directory cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The bundle cannot be assembled.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The scorer refused the finished bundle.
    #[error(
        "the scorer refuses the finished bundle: {0}. Unless memory or disk space ran out, please report this as a defect"
    )]
    Scorer(#[from] ScorerError),
    /// The bundle cannot be judged.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A defect of the program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl From<FeatureError> for TrainError {
    fn from(error: FeatureError) -> Self {
        match error {
            FeatureError::File(file) => Self::File(file),
            FeatureError::Internal(defect) => Self::Internal(defect),
        }
    }
}

impl From<MakeError> for TrainError {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Data(data) => Self::Data(data),
            MakeError::Options(problem) => Self::Options(problem),
            MakeError::File(file) => Self::File(file),
            MakeError::Internal(defect) => Self::Internal(defect),
        }
    }
}

impl TrainError {
    /// Returns a closure that converts any error at `path` into [`TrainError::File`].
    pub(crate) fn file<E: Display>(path: &Path) -> impl FnOnce(E) -> Self {
        move |e| Self::File(FileError::at(path)(e))
    }
}
