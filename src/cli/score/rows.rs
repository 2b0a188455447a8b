//! Output of `score` in each format. JSON lines and CSV are written row by row. A table is written at the end, when all widths are known.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::pairs::{PairError, PairRow};
use edge_cli::output::{Table, csv_error, csv_text, number, write_json};
use edge_model::scorer::Scored;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ScoreFormat {
    /// For people
    Table,
    /// One JSON object per row
    Jsonl,
    /// Comma-separated values with a header
    Csv,
}

#[derive(Serialize)]
struct ScoredRow<'a> {
    path: &'a str,
    tag: &'a str,
    score: f32,
    similarity: f32,
    percentile: Option<f32>,
    model: &'a str,
}

#[derive(Serialize)]
struct FailedRow<'a> {
    path: &'a str,
    tag: &'a str,
    error: &'a str,
    model: &'a str,
}

/// Writes rows in one format.
pub(super) struct RowWriter<W: Write> {
    model: String,
    out: Out<W>,
}

enum Out<W: Write> {
    Table(Table, W),
    Jsonl(W),
    /// The writer, and whether it has written the header.
    Csv(Box<csv::Writer<W>>, bool),
}

impl<W: Write> RowWriter<W> {
    pub(super) fn new(format: ScoreFormat, model: String, out: W) -> Self {
        let header = ["score", "percentile", "similarity", "tag", "path"];
        let out = match format {
            ScoreFormat::Table => Out::Table(Table::new(&header), out),
            ScoreFormat::Jsonl => Out::Jsonl(out),
            ScoreFormat::Csv => Out::Csv(Box::new(csv::Writer::from_writer(out)), false),
        };
        Self { model, out }
    }

    /// Writes the row of a pair: its score, or the reason why it has no score.
    pub(super) fn row(&mut self, pair: &PairRow, result: &Result<Scored, PairError>) -> io::Result<()> {
        let (path, tag, model) = (pair.path.as_str(), pair.tag.as_str(), self.model.as_str());
        match (&mut self.out, result) {
            (Out::Table(table, _), Ok(s)) => table.push(vec![
                number(Some(s.score), 3),
                number(s.percentile, 1),
                number(Some(s.similarity), 3),
                pair.tag.clone(),
                pair.path.clone(),
            ]),
            (Out::Table(table, _), Err(error)) => {
                let dash = || "-".to_owned();
                table.push(vec![dash(), dash(), dash(), pair.tag.clone(), format!("{}: {error}", pair.path)]);
            }
            (Out::Jsonl(out), Ok(scored)) => {
                let Scored { score, similarity, percentile } = *scored;
                write_json(out, &ScoredRow { path, tag, score, similarity, percentile, model })?;
            }
            (Out::Jsonl(out), Err(error)) => {
                let error = error.to_string();
                write_json(out, &FailedRow { path, tag, error: &error, model })?;
            }
            (Out::Csv(out, header), result) => {
                if !std::mem::replace(header, true) {
                    let header = ["path", "tag", "score", "similarity", "percentile", "model", "error"];
                    out.write_record(header).map_err(csv_error)?;
                }
                let cells = match result {
                    Ok(s) => {
                        let percentile = s.percentile.map(|p| p.to_string()).unwrap_or_default();
                        [s.score.to_string(), s.similarity.to_string(), percentile, String::new()]
                    }
                    Err(error) => [String::new(), String::new(), String::new(), error.to_string()],
                };
                let [score, similarity, percentile, error] = cells;
                let (path, tag, error) = (csv_text(path), csv_text(tag), csv_text(&error));
                let cells = [&path, &tag, score.as_str(), &similarity, &percentile, model, &error];
                out.write_record(cells).map_err(csv_error)?;
            }
        }
        Ok(())
    }

    /// Writes everything that is still buffered and returns the output.
    pub(super) fn finish(self) -> io::Result<W> {
        match self.out {
            Out::Table(table, mut out) => table.write(&mut out).map(|()| out),
            Out::Jsonl(out) => Ok(out),
            Out::Csv(out, _) => out.into_inner().map_err(|e| e.into_error()),
        }
    }
}
