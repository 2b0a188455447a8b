//! The error of reading or decoding one file.

use crate::daemon::work::FileFailure;
use edge_model::image_input::ImageError;

/// Why a file cannot be read or decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) enum DecodeError {
    /// The file does not exist.
    Gone,
    /// The file cannot be read or decoded; the failure is recorded.
    Failed(FileFailure),
}

impl From<ImageError> for DecodeError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Unreadable { not_found: true, .. } => Self::Gone,
            other => Self::Failed(other.into()),
        }
    }
}
