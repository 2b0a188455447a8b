//! The error of writing or reading a run directory.

use std::path::PathBuf;

use crate::file_error::FileError;

/// Error of writing or reading a run directory.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be written or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The run cannot be resumed.
    #[error("{}: cannot resume this run: {reason}. Start a new run without --resume", run.display())]
    Resume {
        /// Directory of the run.
        run: PathBuf,
        /// Why it cannot be resumed, such as data that have changed.
        reason: String,
    },
    /// A defect of the program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}
