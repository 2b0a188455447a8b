//! Rows of a table in any format, and the columns that they consist of.

use std::path::Path;

use edge_model::text::normalise_tag;
use serde_json::{Map, Value};

use crate::dataset::{DataError, Example, Part};

/// Names of the columns that are read, except those of the tags.
pub const COLUMNS: [&str; 7] = ["path", "score", "alignment", "similarity", "split", "group", "condition"];

/// A row of a table in any format.
#[derive(Debug, Default)]
pub struct TableRow {
    /// Texts of the columns `tag`, `tag2` and so on.
    pub tags: Vec<String>,
    /// Values of all columns except those of the tags, by column name.
    pub fields: Map<String, Value>,
}

/// Returns whether a column holds tags: `tag`, `tag2`, `tag3` and so on.
pub fn is_tag_column(header: &str) -> bool {
    header.strip_prefix("tag").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

/// Checks that the table has all required columns.
///
/// # Errors
/// [`DataError::Table`], which lists the columns of the table.
pub fn require_columns(path: &Path, found: &[&str]) -> Result<(), DataError> {
    let Some(missing) = ["path", "tag", "score"].into_iter().find(|c| !found.contains(c)) else { return Ok(()) };
    let reason = format!("there is no column {missing:?}; the columns are: {}", found.join(", "));
    Err(DataError::Table { path: path.to_owned(), reason })
}

impl TableRow {
    /// Length of all texts of the row.
    pub fn bytes(&self) -> usize {
        let of_fields = self.fields.values().filter_map(Value::as_str).map(str::len);
        self.tags.iter().map(String::len).chain(of_fields).sum()
    }

    /// Returns one example per tag. `table` is the path of the table, which image paths are relative to.
    ///
    /// # Errors
    /// Description of the first invalid value.
    pub fn examples(&self, table: &Path) -> Result<Vec<Example>, String> {
        let text = |name: &str| match self.fields.get(name) {
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
        let tags: Vec<String> = self.tags.iter().map(|t| normalise_tag(t)).filter(|t| !t.is_empty()).collect();
        if tags.is_empty() {
            return Err("the tag is empty; every image needs at least one tag".to_owned());
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
}
