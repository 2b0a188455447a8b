//! The errors of reading or decoding one file.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::Stage;
use edge_model::image_input::{ImageError, ImageErrorKind};

/// Largest number of characters of a message from a decoder process. Longer messages are cut off.
const LONGEST_ERROR: usize = 500;

/// Why a file could not be scored, as recorded in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct FileFailure {
    /// The step that failed.
    pub stage: Stage,
    /// The reason and what to do next.
    pub error: String,
}

impl From<ImageError> for FileFailure {
    fn from(error: ImageError) -> Self {
        let stage = match error.kind() {
            ImageErrorKind::Unreadable => Stage::Read,
            ImageErrorKind::Undecodable => Stage::Decode,
            ImageErrorKind::TooLarge => Stage::Limit,
        };
        Self { stage, error: error.to_string() }
    }
}

impl FileFailure {
    /// The failure with a message that can be logged, whoever wrote it.
    pub(super) fn printable(self) -> Self {
        let one = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        Self { error: self.error.chars().take(LONGEST_ERROR).map(one).collect(), ..self }
    }
}

/// Why a file has not been read or decoded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DecodeError {
    /// The file cannot be read or decoded.
    #[error(transparent)]
    Failed(#[from] FileFailure),
    /// No decoder process can be started. Says nothing about the file.
    #[error(
        "no decoder process can be started: {0}. Nothing is decoded without one. Check this user's limits on processes, memory and open files"
    )]
    NoProcess(Arc<io::Error>),
}

impl From<ImageError> for DecodeError {
    fn from(error: ImageError) -> Self {
        Self::Failed(error.into())
    }
}
