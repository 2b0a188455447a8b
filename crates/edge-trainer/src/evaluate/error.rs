//! Why nothing can be judged.

use std::path::PathBuf;

use crate::dataset::DataError;
use edge_model::scorer::ScorerError;

/// Why nothing can be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A bundle is refused.
    #[error("{}: {source}", dir.display())]
    Bundle {
        /// The bundle.
        dir: PathBuf,
        /// Why.
        source: ScorerError,
    },
    /// The scorer fails on an input.
    #[error(transparent)]
    Scorer(#[from] ScorerError),
    /// An image that was readable at first no longer is.
    #[error("{}: {reason}. It was readable when the data were checked: restore it and start again", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The bundle does not say how its data were divided.
    #[error(
        "{}: training.config of the manifest does not say how the data were divided ({reason}), so images that were \
         trained on cannot be told apart. Judge all of them with --part all", dir.display()
    )]
    Division {
        /// The bundle.
        dir: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// The request contradicts itself.
    #[error("{0}")]
    Request(String),
    /// A file cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Something that cannot happen did.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl JudgeError {
    /// A closure that makes a [`JudgeError::File`] of whatever went wrong with `path`.
    pub(crate) fn file<E: std::fmt::Display>(path: &std::path::Path) -> impl FnOnce(E) -> Self {
        move |e| Self::File { path: path.to_owned(), reason: e.to_string() }
    }
}
