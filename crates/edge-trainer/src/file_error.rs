//! The error of reading or writing a file, which several modules share.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// A file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct FileError {
    /// Path of the file or directory.
    pub path: PathBuf,
    /// Error of the operating system, or a description of the invalid content.
    pub reason: String,
}

impl FileError {
    /// Returns a closure that converts any error to a [`FileError`] of `path`.
    pub(crate) fn at<E: Display>(path: &Path) -> impl FnOnce(E) -> Self {
        move |e| Self { path: path.to_owned(), reason: format!("cannot be read or written: {e}") }
    }
}
