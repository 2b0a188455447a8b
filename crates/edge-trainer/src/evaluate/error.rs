//! Errors of judging bundles.

use std::path::PathBuf;

use edge_model::scorer::ScorerError;

use crate::dataset::DataError;
use crate::file_error::FileError;

/// Error of judging or comparing bundles.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A bundle is refused.
    #[error("{}: {source}", dir.display())]
    Bundle {
        /// Directory of the refused bundle.
        dir: PathBuf,
        /// Reason of the refusal.
        source: ScorerError,
    },
    /// The scorer fails on an input.
    #[error(transparent)]
    Scorer(#[from] ScorerError),
    /// An image became unreadable after the check of the data.
    #[error("{}: {reason}. The image was readable when the data were checked: restore it and start \
             again", path.display())]
    Image {
        /// Path of the image.
        path: PathBuf,
        /// Error of reading or decoding.
        reason: String,
    },
    /// The manifest does not describe the division of the training data.
    #[error(
        "{}: training.config of the manifest does not describe how the data were divided ({reason}), so it is \
         unknown which images the model was trained on. Judge all images with --part all", dir.display()
    )]
    Division {
        /// Directory of the bundle.
        dir: PathBuf,
        /// The value that is missing or cannot be parsed.
        reason: String,
    },
    /// The request names nothing to judge, or gives two bundles the same name.
    #[error("{0}")]
    Request(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A defect of the program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}
