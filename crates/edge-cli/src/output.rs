//! Rows on stdout: tables for people, JSON and CSV for programs, paths for pipes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Text that is safe on a terminal and stays on its line: control characters become escapes such as `\n` and `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    // The bidirectional overrides are here because they let one name look like another.
    let risky =
        |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    if !text.chars().any(risky) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if risky(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// A table with aligned columns. Numbers are aligned to the right.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; control characters are escaped.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row.iter().map(|cell| printable(cell).into_owned()).collect());
    }

    /// Writes header and rows.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let width = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = self.header.iter().map(|h| width(h)).collect();
        for row in &self.rows {
            widths.iter_mut().zip(row).for_each(|(w, cell)| *w = (*w).max(width(cell)));
        }
        let numeric: Vec<bool> = (0..widths.len())
            .map(|column| !self.rows.is_empty() && self.rows.iter().all(|r| is_number(&r[column])))
            .collect();
        let header: Vec<String> = self.header.iter().map(|h| (*h).to_owned()).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, &width), &right) in row.iter().zip(&widths).zip(&numeric) {
                let padded = if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                let _ = write!(line, "{padded}  ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn is_number(cell: &str) -> bool {
    cell == "-" || cell.trim_end_matches('%').parse::<f64>().is_ok()
}

/// The error of the output below a CSV writer, so that a closed pipe is known as one.
pub fn csv_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// A number with so many decimals, `-` for none.
pub fn number(value: Option<f32>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_reach_the_terminal() {
        assert_eq!(printable("photo 1.jpg"), "photo 1.jpg");
        assert_eq!(printable("a\nb\u{1b}[2Jc\u{202e}d"), "a\\nb\\u{1b}[2Jc\\u{202e}d");
        assert_eq!(printable("Zürich ☀.jpg"), "Zürich ☀.jpg");
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["score", "path"]);
        table.push(vec!["10.5".to_owned(), "a".to_owned()]);
        table.push(vec!["9.25".to_owned(), "b\n".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "score  path\n 10.5  a\n 9.25  b\\n\n");
    }
}
