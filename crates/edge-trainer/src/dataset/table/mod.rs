//! Reader of tables of rated images: CSV with a header, JSON lines, or Parquet.
//!
//! Columns: `path` (relative to the table), `tag` and `score`; optional: `alignment` (or `similarity`), `split`
//! (`train`, `validation` or `test`), `group`, `condition`. Other columns are ignored. An image may have several tags:
//! in further columns `tag2`, `tag3` and so on, as an array in JSON lines, as a list in Parquet, or in several rows in
//! every format. Each tag gives one example.

mod parquet;
mod row;

use std::fs::File;
use std::path::Path;

use serde_json::{Map, Value};

use super::lines::numbered_lines;
use super::{DataError, DataSet};
use row::{TableRow, is_tag_column, require_columns};

/// Returns whether the file name has the extension of a table.
pub fn recognises(path: &Path) -> bool {
    matches!(extension(path).as_str(), "csv" | "jsonl" | "ndjson" | "parquet")
}

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Reads a table of rated images: a `.csv`, `.jsonl` or `.parquet` file.
pub fn read(path: &Path) -> Result<DataSet, DataError> {
    let (unit, rows) = match extension(path).as_str() {
        "parquet" => ("row", parquet::rows(path)?),
        "jsonl" | "ndjson" => ("line", json_rows(path)?),
        _ => ("line", csv_rows(path)?),
    };
    let mut examples = Vec::with_capacity(rows.len());
    for (number, row) in rows {
        let error = |reason| DataError::Row { path: path.to_owned(), unit, number, reason };
        examples.extend(row.examples(path).map_err(error)?);
    }
    if examples.is_empty() {
        return Err(DataError::Table { path: path.to_owned(), reason: "the table has no rows".to_owned() });
    }
    let name = path.file_stem().map_or_else(|| "table".to_owned(), |s| s.to_string_lossy().into_owned());
    let unit = format!("score of {name}");
    let about = "The table does not describe its images.".to_owned();
    let licence = "unknown".to_owned();
    Ok(DataSet { name, licence, about, unit, scale: None, test_share: None, notes: Vec::new(), examples })
}

fn csv_rows(path: &Path) -> Result<Vec<(u64, TableRow)>, DataError> {
    let mut reader =
        csv::ReaderBuilder::new().flexible(false).from_reader(File::open(path).map_err(DataError::missing(path))?);
    let broken = |e: csv::Error| {
        let line = e.position().map_or(1, csv::Position::line);
        DataError::line(path, line, e)
    };
    let headers = reader.headers().map_err(broken)?.clone();
    // Remove the byte order mark that spreadsheet programs write before the name of the first column.
    let headers: Vec<&str> = headers.iter().map(|h| h.trim_start_matches('\u{feff}').trim()).collect();
    require_columns(path, &headers)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let line = record.position().map_or(0, csv::Position::line);
        let mut row = TableRow::default();
        for (&header, cell) in headers.iter().zip(&record).filter(|(_, cell)| !cell.trim().is_empty()) {
            if is_tag_column(header) {
                row.tags.push(cell.to_owned());
            } else {
                row.fields.insert(header.to_owned(), Value::String(cell.trim().to_owned()));
            }
        }
        rows.push((line, row));
    }
    Ok(rows)
}

fn json_rows(path: &Path) -> Result<Vec<(u64, TableRow)>, DataError> {
    let mut rows = Vec::new();
    for line in numbered_lines(path)? {
        let (number, text) = line?;
        let parsed = serde_json::from_str(&text).map_err(|e| DataError::line(path, number, e));
        let mut fields: Map<String, Value> = parsed?;
        let tags = match fields.remove("tag") {
            Some(Value::String(tag)) => vec![tag],
            Some(Value::Array(tags)) => tags.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => vec![],
        };
        rows.push((number, TableRow { tags, fields }));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Part;

    fn table(name: &str, text: &str) -> Result<DataSet, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn csv_takes_several_tags_a_split_and_a_group() {
        let data = table(
            "t.csv",
            "\u{feff}path,tag,tag2,score,alignment,split,group,note\n\
             a.jpg,birds,sky,3.5,0.9,train,g1,x\nb.jpg,birds,,2,,test,g2,\n",
        )
        .unwrap();
        let seen: Vec<_> =
            data.examples.iter().map(|e| (e.tag.as_str(), e.score, e.alignment, e.part, e.group.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("birds", 3.5, Some(0.9), Some(Part::Train), "g1"),
                ("sky", 3.5, Some(0.9), Some(Part::Train), "g1"),
                ("birds", 2.0, None, Some(Part::Test), "g2"),
            ]
        );
    }

    #[test]
    fn json_lines_take_a_tag_or_an_array() {
        let lines = "{\"path\":\"a.png\",\"tag\":[\"a\",\"b\"],\"score\":1}\n\n{\"path\":\"b.png\",\"tag\":\"A\",\"score\":2.5}\n";
        let data = table("t.jsonl", lines).unwrap();
        assert_eq!(data.examples.len(), 3);
        assert_eq!((data.examples[2].tag.as_str(), data.examples[2].group.as_str()), ("A", "a"));
    }

    #[test]
    fn errors_name_line_and_column() {
        let message = |name, text| table(name, text).unwrap_err().to_string();
        assert!(message("t.csv", "path,score\na,1\n").contains("no column \"tag\"; the columns are: path, score"));
        let bad = message("t.csv", "path,tag,score\na,b,1\na,b,high\n");
        assert!(bad.contains("line 3") && bad.contains("score is \"high\""), "{bad}");
        assert!(message("t.jsonl", "{\"path\":1").contains("line 1"));
        assert!(message("t.parquet", "PAR1").contains("cannot be read as Parquet"));
        assert!(message("t.csv", "path,tag,score,split\na,b,1,dev\n").contains("dev"));
    }
}
