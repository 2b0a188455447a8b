//! The table of a style data set.

use crate::dataset::Part;

/// A row of the table: a rendering under one tag.
#[derive(Debug, Clone)]
pub struct StyleRow {
    /// Path of the rendering, relative to the table.
    pub path: String,
    /// Text of the tag that the rendering is rated under.
    pub tag: &'static str,
    /// Score of the rendering under the tag.
    pub score: f32,
    /// Part that the source image belongs to: train, validation or test.
    pub part: Part,
    /// Split unit of the source image.
    pub group: String,
    /// Name of the condition: `plain`, styles and strengths, or fault and degree.
    pub condition: String,
}

/// Returns the table as CSV.
///
/// # Errors
/// The errors of the CSV writer.
pub fn to_csv(rows: &[StyleRow]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["path", "tag", "score", "split", "group", "condition"])?;
    for row in rows {
        let (score, part) = (format!("{:.3}", row.score), row.part.to_string());
        writer.write_record([&row.path, row.tag, &score, &part, &row.group, &row.condition])?;
    }
    writer.into_inner().map_err(|e| e.into_error().into())
}
