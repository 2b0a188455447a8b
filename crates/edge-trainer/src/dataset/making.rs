//! Prepares an output directory and lists the image files of an input directory, for the commands that make data sets.

use std::path::{Path, PathBuf};

use edge_model::image_input::EXTENSIONS;
use serde::de::DeserializeOwned;
use walkdir::WalkDir;

use super::DataError;
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

/// Returns an error if `out` is a directory with files, because old images would remain among the new ones.
pub(super) fn refuse_occupied(out: &Path) -> Result<(), MakeError> {
    let occupied = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if !occupied {
        return Ok(());
    }
    let reason = "the directory is not empty. Name a new directory with --out, or remove this one".to_owned();
    Err(FileError { path: out.to_owned(), reason }.into())
}

/// Reads the recipe of a finished data set; `None` if the directory has none.
pub(super) fn read_recipe<R: DeserializeOwned>(path: &Path) -> Result<Option<R>, MakeError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).map_err(FileError::at(path))?)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(FileError::at(path)(e).into()),
    }
}

/// The error of a directory whose data set, of the kind `what`, has another recipe than was asked for. `path` is the recipe's.
pub(super) fn made_otherwise(path: PathBuf, what: &str) -> MakeError {
    let reason = format!(
        "the {what} data set in this directory was made with other options. Remove the directory, or name another one"
    );
    FileError { path, reason }.into()
}

/// Writes a file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), MakeError> {
    Ok(std::fs::write(path, bytes).map_err(FileError::at(path))?)
}

/// Returns the image files below a directory, in the order of their names; at least one.
pub(super) fn image_files(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for entry in WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.map_err(|e| DataError::Missing { path: dir.to_owned(), reason: e.to_string() })?;
        let extension = entry.path().extension().map(|e| e.to_string_lossy().to_lowercase());
        if entry.file_type().is_file() && extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
            files.push(entry.into_path());
        }
    }
    if files.is_empty() {
        let reason = format!(
            "the directory contains neither images nor a data set; file names of images end in {}",
            EXTENSIONS.join(", ")
        );
        return Err(DataError::Table { path: dir.to_owned(), reason });
    }
    Ok(files)
}
