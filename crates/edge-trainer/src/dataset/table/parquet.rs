//! Reads Parquet tables with the row reader of the crate `parquet`. Only the needed columns are decoded, so that a
//! column with the bytes of the images costs no time.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::Value;

use super::row::{COLUMNS, TableRow, is_tag_column, require_columns};
use crate::dataset::DataError;

/// Returns the rows of a Parquet table with their numbers, from 1.
pub fn rows(path: &Path) -> Result<Vec<(u64, TableRow)>, DataError> {
    let broken = |e: ParquetError| {
        let reason = format!(
            "cannot be read as Parquet: {e}. The file must be complete, and uncompressed or compressed by Snappy or \
             Zstandard"
        );
        DataError::Table { path: path.to_owned(), reason }
    };
    let reader = SerializedFileReader::new(File::open(path).map_err(DataError::missing(path))?).map_err(broken)?;
    let projection = projection(path, &reader)?;
    let mut rows = Vec::new();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(broken)?;
        for row in group.get_row_iter(Some(projection.clone())).map_err(broken)? {
            let row = row.map_err(broken)?.into_columns();
            rows.push((rows.len() as u64 + 1, of_columns(row)));
        }
    }
    Ok(rows)
}

/// Returns the schema of the file, reduced to the columns that are read.
fn projection(path: &Path, reader: &SerializedFileReader<File>) -> Result<Type, DataError> {
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<&str> = schema.get_fields().iter().map(|f| f.name()).collect();
    require_columns(path, &names)?;
    let wanted = |name: &str| COLUMNS.contains(&name) || is_tag_column(name);
    let fields = schema.get_fields().iter().filter(|f| wanted(f.name())).map(Arc::clone).collect();
    let built = Type::group_type_builder(schema.name()).with_fields(fields).build();
    built.map_err(|e| DataError::Table { path: path.to_owned(), reason: e.to_string() })
}

fn of_columns(columns: Vec<(String, Field)>) -> TableRow {
    let mut row = TableRow::default();
    for (name, field) in columns {
        if is_tag_column(&name) {
            push_tags(&field, &mut row.tags);
        } else if let Some(text) = text_of(&field) {
            row.fields.insert(name, Value::String(text));
        }
    }
    row
}

/// Adds the tags of a field to `tags`: a string is one tag, a list holds several tags.
fn push_tags(field: &Field, tags: &mut Vec<String>) {
    match field {
        Field::ListInternal(list) => list.elements().iter().for_each(|f| push_tags(f, tags)),
        other => tags.extend(text_of(other)),
    }
}

/// Returns the value of a field as the text that a CSV file would hold. Returns `None` for null, for nested values, and
/// for NaN, which pandas writes for a missing number.
fn text_of(field: &Field) -> Option<String> {
    match field {
        Field::Str(text) => Some(text.trim().to_owned()),
        Field::Bytes(bytes) => bytes.as_utf8().ok().map(|t| t.trim().to_owned()),
        Field::Float(v) => v.is_finite().then(|| v.to_string()),
        Field::Double(v) => v.is_finite().then(|| v.to_string()),
        Field::Null | Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => None,
        number => Some(number.to_string()),
    }
    .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::dataset::table::read;
    use crate::dataset::{DataSet, Part};

    const SCHEMA: &str = "message schema {
        REQUIRED BINARY path (UTF8);
        OPTIONAL GROUP tag (LIST) { REPEATED GROUP list { OPTIONAL BINARY element (UTF8); } }
        OPTIONAL DOUBLE score;
        OPTIONAL BINARY split (UTF8);
        OPTIONAL BINARY image;
    }";

    fn strings(group: &mut SerializedRowGroupWriter<'_, File>, values: &[&str], levels: [Option<&[i16]>; 2]) {
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> = values.iter().map(|v| ByteArray::from(*v)).collect();
        column.typed::<ByteArrayType>().write_batch(&values, levels[0], levels[1]).unwrap();
        column.close().unwrap();
    }

    /// Writes a table of two images. The first has two tags and a stated part. The second has one tag and no stated
    /// part.
    fn write(path: &Path, compression: Compression, score: &[f64]) {
        let properties = WriterProperties::builder().set_compression(compression).build();
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let mut file = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
        let mut group = file.next_row_group().unwrap();
        strings(&mut group, &["a.jpg", "b.jpg"], [None, None]);
        strings(&mut group, &["birds", "sky", "birds"], [Some(&[3, 3, 3]), Some(&[0, 1, 0])]);
        let mut column = group.next_column().unwrap().unwrap();
        let levels: Vec<i16> = (0..2).map(|i| i16::from(i < score.len())).collect();
        column.typed::<DoubleType>().write_batch(score, Some(&levels), None).unwrap();
        column.close().unwrap();
        strings(&mut group, &["test"], [Some(&[1, 0]), None]);
        strings(&mut group, &["\u{1}bytes", "more"], [Some(&[1, 1]), None]);
        group.close().unwrap();
        file.close().unwrap();
    }

    fn table(compression: Compression, score: &[f64]) -> Result<DataSet, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings.parquet");
        write(&path, compression, score);
        read(&path)
    }

    #[test]
    fn lists_of_tags_and_nulls_are_read_in_every_compression() {
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
            let data = table(compression, &[3.5, 1.25]).unwrap();
            let seen: Vec<_> = data.examples.iter().map(|e| (e.tag.as_str(), e.score, e.part)).collect();
            let test = Some(Part::Test);
            assert_eq!(seen, [("birds", 3.5, test), ("sky", 3.5, test), ("birds", 1.25, None)]);
        }
    }

    #[test]
    fn errors_name_the_row_and_what_is_understood() {
        let missing = table(Compression::SNAPPY, &[3.5]).unwrap_err().to_string();
        assert!(missing.contains("ratings.parquet, row 2: the score is empty"), "{missing}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings.parquet");
        write(&path, Compression::SNAPPY, &[3.5, 1.0]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let cut = read(&path).unwrap_err().to_string();
        assert!(cut.contains("cannot be read as Parquet") && cut.contains("Zstandard"), "{cut}");
    }
}
