//! Reads text files line by line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::error::DataError;

/// Returns the non-blank lines of a file with their numbers, from 1.
///
/// # Errors
/// [`DataError::Missing`] if the file cannot be opened. An item is [`DataError::Row`] if the line cannot be read.
pub fn numbered_lines(path: &Path) -> Result<impl Iterator<Item = Result<(u64, String), DataError>>, DataError> {
    let lines = BufReader::new(File::open(path).map_err(DataError::missing(path))?).lines().zip(1..);
    let numbered = move |(line, number): (std::io::Result<String>, u64)| match line {
        Ok(text) => Ok((number, text)),
        Err(e) => Err(DataError::line(path, number, e)),
    };
    Ok(lines.map(numbered).filter(|line| !matches!(line, Ok((_, text)) if text.trim().is_empty())))
}
