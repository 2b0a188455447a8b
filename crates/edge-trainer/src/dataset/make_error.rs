//! Errors of making a data set from images.

use crate::dataset::DataError;
use crate::file_error::FileError;

/// Error of making a data set from images.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The source images cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The request contradicts itself or the source images.
    #[error("the options are unusable: {0}")]
    Options(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A defect of the program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}
