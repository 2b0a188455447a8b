//! Tables of rated images: CSV with a header, JSON lines, or Parquet.
//!
//! Columns: `path` (relative to the table), `tag`, `score`; optional `alignment` (or `similarity`), `split` (`train`,
//! `validation`, `test`), `group`, `condition`, and `score_std`, which is accepted and not used. An image may have several tags:
//! as further columns `tag2`, `tag3` and so on, as an array in JSON lines, as a list in Parquet, everywhere as several rows. Each
//! tag makes one example. Other columns are ignored.

mod parquet;

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use super::{DataError, DataSet, Example, Part, open};
use edge_model::text::normalise_tag;

/// The columns with a meaning, beside those of the tags.
const COLUMNS: [&str; 7] = ["path", "score", "alignment", "similarity", "split", "group", "condition"];

/// Whether the file's name says that it is a table.
pub fn recognises(path: &Path) -> bool {
    matches!(extension(path).as_str(), "csv" | "jsonl" | "ndjson" | "parquet")
}

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Reads the table.
pub fn read(path: &Path) -> Result<DataSet, DataError> {
    let (unit, rows) = match extension(path).as_str() {
        "parquet" => ("row", parquet::rows(path)?),
        "jsonl" | "ndjson" => ("line", json_rows(path)?),
        _ => ("line", csv_rows(path)?),
    };
    let mut examples = Vec::with_capacity(rows.len());
    for (number, row) in rows {
        let error = |reason| DataError::Row { path: path.to_owned(), unit, number, reason };
        examples.extend(examples_of(path, &row).map_err(error)?);
    }
    if examples.is_empty() {
        return Err(DataError::Table { path: path.to_owned(), reason: "the table has no rows".to_owned() });
    }
    let name = path.file_stem().map_or_else(|| "table".to_owned(), |s| s.to_string_lossy().into_owned());
    let unit = format!("score of {name}");
    let about = "The images of a table; what they show, nothing here says.".to_owned();
    let licence = "unknown".to_owned();
    Ok(DataSet { name, licence, about, unit, scale: None, test_share: None, notes: Vec::new(), examples })
}

/// One row, whatever it was written in: tags and fields by name.
struct Row {
    tags: Vec<String>,
    fields: Map<String, Value>,
}

fn csv_rows(path: &Path) -> Result<Vec<(u64, Row)>, DataError> {
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(open(path)?);
    let broken = |e: csv::Error| {
        let line = e.position().map_or(1, csv::Position::line);
        DataError::line(path, line, e)
    };
    let headers = reader.headers().map_err(broken)?.clone();
    // Spreadsheets begin a file with a byte order mark, which is no part of the first column's name.
    let headers: Vec<&str> = headers.iter().map(|h| h.trim_start_matches('\u{feff}').trim()).collect();
    require_columns(path, &headers)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let line = record.position().map_or(0, csv::Position::line);
        let mut row = Row { tags: Vec::new(), fields: Map::new() };
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

fn require_columns(path: &Path, found: &[&str]) -> Result<(), DataError> {
    let Some(missing) = ["path", "tag", "score"].into_iter().find(|c| !found.contains(c)) else { return Ok(()) };
    let reason = format!("there is no column {missing:?}; the columns are: {}", found.join(", "));
    Err(DataError::Table { path: path.to_owned(), reason })
}

/// `tag`, `tag2`, `tag3` and so on.
fn is_tag_column(header: &str) -> bool {
    header.strip_prefix("tag").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

fn json_rows(path: &Path) -> Result<Vec<(u64, Row)>, DataError> {
    let mut rows = Vec::new();
    for (text, line) in BufReader::new(open(path)?).lines().zip(1u64..) {
        let text = text.map_err(|e| DataError::line(path, line, e))?;
        if text.trim().is_empty() {
            continue;
        }
        let mut fields: Map<String, Value> = serde_json::from_str(&text).map_err(|e| DataError::line(path, line, e))?;
        let tags = match fields.remove("tag") {
            Some(Value::String(tag)) => vec![tag],
            Some(Value::Array(tags)) => tags.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => vec![],
        };
        rows.push((line, Row { tags, fields }));
    }
    Ok(rows)
}

fn examples_of(table: &Path, row: &Row) -> Result<Vec<Example>, String> {
    let text = |name: &str| match row.fields.get(name) {
        Some(Value::String(s)) => Some(s.clone()),
        Some(Value::Number(n)) => Some(n.to_string()),
        _ => None,
    };
    let number = |name: &str| match text(name) {
        None => Ok(None),
        Some(t) => match t.parse::<f32>() {
            Ok(v) if v.is_finite() => Ok(Some(v)),
            _ => Err(format!("{name} is {t:?}, which is not a number")),
        },
    };
    let image = text("path").ok_or("the path is empty")?;
    let score = number("score")?.ok_or("the score is empty")?;
    let alignment = match number("alignment")? {
        Some(a) => Some(a),
        None => number("similarity")?,
    };
    let part = text("split").map(|s| s.parse::<Part>()).transpose()?;
    let tags: Vec<String> = row.tags.iter().map(|t| normalise_tag(t)).filter(|t| !t.is_empty()).collect();
    if tags.is_empty() {
        return Err("the tag is empty: every image needs at least one".to_owned());
    }
    let base = table.parent().unwrap_or(Path::new(""));
    let example = |tag: String| Example {
        path: base.join(&image),
        group: text("group").unwrap_or_else(|| tag.to_lowercase()),
        source: String::new(),
        tag,
        score,
        alignment,
        part,
        condition: text("condition"),
        content_id: String::new(),
    };
    Ok(tags.into_iter().map(example).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
