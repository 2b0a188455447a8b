//! The list of (image, tag) pairs: a CSV with at least the columns `path` and `tag`.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decoder::DecodeError;
use edge_cli::{CommandError, exit_code};
use edge_model::image_input::ImageError;
use edge_model::scorer::ScorerError;

/// A row of the list: an (image, tag) pair, or the reason why it is not one.
#[derive(Debug, Clone)]
pub(super) struct PairRow {
    /// The image's path as given.
    pub(super) path: String,
    /// The tag, as the user gave it.
    pub(super) tag: String,
    /// The image's path as opened.
    pub(super) file: PathBuf,
    /// Why the row is not a pair.
    pub(super) problem: Option<PairError>,
}

impl PairRow {
    pub(super) fn new(path: String, tag: String, file: PathBuf) -> Self {
        Self { path, tag, file, problem: None }
    }
}

/// Why a row has no score.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum PairError {
    /// The row is not valid CSV.
    #[error("the row cannot be read: {0}. Save the file as CSV in UTF-8")]
    Malformed(String),
    /// The row lacks a value.
    #[error("line {line} has no path or no tag: add what is missing, or delete the line")]
    Incomplete {
        /// The line, counted from 1.
        line: u64,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image cannot be decoded.
    #[error(transparent)]
    Decoder(#[from] DecodeError),
    /// The thread that asked for the image panicked.
    #[error("the thread that decoded this image panicked. This is a defect; please report it")]
    DecoderPanicked,
    /// The model refused the image or the tag, or the device failed.
    #[error(transparent)]
    Scorer(Arc<ScorerError>),
    /// The model returned too few results.
    #[error("the model returned no score for this row. This is a defect; please report it")]
    Unscored,
}

/// Reads pairs one by one from a file, or from standard input for `-`. A malformed row is returned with its problem.
///
/// # Errors
/// The file cannot be read, or its header lacks a column.
pub(super) fn read(file: &Path) -> Result<impl Iterator<Item = PairRow> + use<>, CommandError> {
    let fail = |code, reason: String| CommandError::new(code, format!("{}: {reason}", file.display()));
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(stdin())
    } else {
        Box::new(File::open(file).map_err(|e| fail(exit_code::NO_INPUT, format!("cannot be read: {e}")))?)
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let header = reader.headers().map_err(|e| fail(exit_code::NO_INPUT, e.to_string()))?.clone();
    let column = |name: &str| {
        // Spreadsheets write a byte order mark, which becomes part of the first column's name.
        let found = header.iter().position(|h| h.trim_start_matches('\u{feff}').trim().eq_ignore_ascii_case(name));
        let columns: Vec<&str> = header.iter().collect();
        let advice =
            format!("the header has no column {name:?}. Its columns are {columns:?}; path and tag are required");
        found.ok_or_else(|| fail(exit_code::USAGE, advice))
    };
    let (path_column, tag_column) = (column("path")?, column("tag")?);
    let base = file.parent().map(Path::to_owned).unwrap_or_default();
    Ok(reader.into_records().map(move |record| {
        let broken = |path: &str, tag: &str, problem| PairRow {
            problem: Some(problem),
            ..PairRow::new(path.to_owned(), tag.to_owned(), PathBuf::new())
        };
        let record = match record {
            Ok(record) => record,
            Err(error) => return broken("", "", PairError::Malformed(error.to_string())),
        };
        let line = record.position().map_or(0, csv::Position::line);
        match (record.get(path_column), record.get(tag_column)) {
            (Some(path), Some(tag)) if !path.is_empty() => {
                PairRow::new(path.to_owned(), tag.to_owned(), locate(Path::new(path), &base))
            }
            (path, tag) => broken(path.unwrap_or_default(), tag.unwrap_or_default(), PairError::Incomplete { line }),
        }
    }))
}

/// Resolves a relative path: from the working directory, or from the list's directory `base` where the file exists only there.
fn locate(path: &Path, base: &Path) -> PathBuf {
    let beside = base.join(path);
    if path.is_relative() && !path.exists() && beside.exists() { beside } else { path.to_owned() }
}
