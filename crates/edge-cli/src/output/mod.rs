//! Helpers for output on stdout: safe text, aligned tables, numbers, errors of CSV writers.

mod escape;

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

pub use escape::{csv_text, printable, write_json, write_pretty_json};

/// A table with aligned columns. Columns of numbers are aligned to the right. Widths are those of a terminal: a Chinese, Japanese or Korean
/// character takes two columns, a combining character none.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates an empty table with these column names.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Characters that are not shown are escaped; see [`printable`].
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row.iter().map(|cell| printable(cell).into_owned()).collect());
    }

    /// Writes the header and the rows.
    ///
    /// # Errors
    /// Returns the error of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut widths: Vec<usize> = self.header.iter().map(|name| name.width()).collect();
        for row in &self.rows {
            widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.width()));
        }
        let numeric: Vec<bool> = (0..widths.len())
            .map(|column| !self.rows.is_empty() && self.rows.iter().all(|r| is_number(&r[column])))
            .collect();
        let header: Vec<String> = self.header.iter().map(|h| (*h).to_owned()).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, &width), &right) in row.iter().zip(&widths).zip(&numeric) {
                let padding = " ".repeat(width - cell.width());
                let (before, after) = if right { (padding.as_str(), "") } else { ("", padding.as_str()) };
                line.extend([before, cell, after, "  "]);
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn is_number(cell: &str) -> bool {
    cell == "-" || cell.trim_end_matches('%').parse::<f64>().is_ok()
}

/// Returns the I/O error inside an error of a CSV writer, so that a closed pipe can be recognised.
pub fn csv_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Formats a number with `decimals` decimals. `None` gives `-`.
pub fn number(value: Option<f32>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["score", "path"]);
        table.push(vec!["10.5".to_owned(), "a".to_owned()]);
        table.push(vec!["9.25".to_owned(), "b\n".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "score  path\n 10.5  a\n 9.25  b\\n\n");
    }

    #[test]
    fn columns_are_aligned_by_the_width_on_the_terminal() {
        let mut table = Table::new(&["tag", "path"]);
        // Two wide characters, a letter with a combining accent, a wide emoji, plain letters.
        for tag in ["夜景", "cafe\u{301}", "🐦", "birds"] {
            table.push(vec![tag.to_owned(), "a.jpg".to_owned()]);
        }
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = ["tag    path", "夜景   a.jpg", "cafe\u{301}   a.jpg", "🐦     a.jpg", "birds  a.jpg"];
        assert_eq!(String::from_utf8(out).unwrap().lines().collect::<Vec<_>>(), expected);
    }
}
