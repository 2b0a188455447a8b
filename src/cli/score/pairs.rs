//! The list of pairs: a CSV with at least the columns `path` and `tag`.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use edge_cli::{Failure, exit_code};

/// An (image, tag) pair to score, or why the row that should hold one does not.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// The path as it was given.
    pub(super) path: String,
    /// The tag as it was given.
    pub(super) tag: String,
    /// Where the image is.
    pub(super) file: PathBuf,
    /// What is wrong with the row itself.
    pub(super) problem: Option<String>,
}

impl Pair {
    pub(super) fn new(path: String, tag: String, file: PathBuf) -> Self {
        Self { path, tag, file, problem: None }
    }
}

/// Reads pairs one by one; `-` is standard input. A row that cannot be read becomes a pair with a problem.
pub(super) fn read(file: &Path) -> Result<impl Iterator<Item = Pair> + use<>, Failure> {
    let fail = |code, reason: String| Failure::new(code, format!("{}: {reason}", file.display()));
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(stdin())
    } else {
        Box::new(File::open(file).map_err(|e| fail(exit_code::NO_INPUT, format!("cannot be read: {e}")))?)
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let header = reader.headers().map_err(|e| fail(exit_code::NO_INPUT, e.to_string()))?.clone();
    let column = |name: &str| {
        // A byte order mark is part of the first name where a spreadsheet wrote the file.
        let found = header.iter().position(|h| h.trim_start_matches('\u{feff}').trim().eq_ignore_ascii_case(name));
        let columns: Vec<&str> = header.iter().collect();
        let advice = format!("the header has no column {name:?} (it has {columns:?}); path and tag are needed");
        found.ok_or_else(|| fail(exit_code::USAGE, advice))
    };
    let (path_column, tag_column) = (column("path")?, column("tag")?);
    let base = file.parent().map(Path::to_owned).unwrap_or_default();
    Ok(reader.into_records().map(move |record| {
        let broken = |problem: String| Pair {
            path: String::new(),
            tag: String::new(),
            file: PathBuf::new(),
            problem: Some(problem),
        };
        let record = match record {
            Ok(record) => record,
            Err(error) => return broken(format!("the row cannot be read: {error}")),
        };
        let line = record.position().map_or(0, csv::Position::line);
        match (record.get(path_column), record.get(tag_column)) {
            (Some(path), Some(tag)) if !path.is_empty() => {
                Pair::new(path.to_owned(), tag.to_owned(), locate(Path::new(path), &base))
            }
            (path, tag) => Pair {
                path: path.unwrap_or_default().to_owned(),
                tag: tag.unwrap_or_default().to_owned(),
                ..broken(format!("line {line} has no path or no tag"))
            },
        }
    }))
}

/// A relative path counts from the working directory; where nothing is there, from the list's own directory.
fn locate(path: &Path, base: &Path) -> PathBuf {
    let beside = base.join(path);
    if path.is_relative() && !path.exists() && beside.exists() { beside } else { path.to_owned() }
}
