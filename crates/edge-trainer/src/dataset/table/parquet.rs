//! Reads Parquet tables with the row reader of the crate `parquet`. Only the needed columns are decoded, so that a
//! column with the bytes of the images costs no time. A small file can stand for a large table, so that rows, columns and bytes are
//! bounded.

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

/// Most columns of a table; a schema takes memory before any column is chosen.
const MAX_COLUMNS: usize = 10_000;
/// Most rows of a table. Two million rows with short texts take 2.4 GiB of memory. AVA has 255,000 images.
const MAX_ROWS: u64 = 2_000_000;
/// Most bytes of the needed columns, uncompressed, and of the texts of all rows.
const MAX_BYTES: u64 = 1 << 30;

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
    let too_large =
        |what: String| DataError::Table { path: path.to_owned(), reason: format!("{what}. Divide the table") };
    let projection = projection(path, &reader)?;
    if let Some(what) = too_much_stated(&reader) {
        return Err(too_large(what));
    }
    let mut rows = Vec::new();
    let mut bytes = 0;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(broken)?;
        for row in group.get_row_iter(Some(projection.clone())).map_err(broken)? {
            let row = of_columns(row.map_err(broken)?.into_columns());
            // The file's own numbers may be wrong, and a dictionary makes long texts of few bytes.
            bytes += row.bytes() as u64;
            if rows.len() as u64 == MAX_ROWS || bytes > MAX_BYTES {
                return Err(too_large(format!(
                    "has more than {MAX_ROWS} rows, or texts of more than {MAX_BYTES} bytes"
                )));
            }
            rows.push((rows.len() as u64 + 1, row));
        }
    }
    Ok(rows)
}

/// Describes what the file says to have too much of; `None` if it can be read.
fn too_much_stated(reader: &SerializedFileReader<File>) -> Option<String> {
    let metadata = reader.metadata();
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(u64::MAX);
    if rows > MAX_ROWS {
        return Some(format!("has {rows} rows; at most {MAX_ROWS} can be read"));
    }
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
    let needed = chunks.filter(|chunk| chunk.column_path().parts().first().is_some_and(|name| is_needed(name)));
    let bytes = needed.map(|chunk| u64::try_from(chunk.uncompressed_size()).unwrap_or(u64::MAX));
    let bytes = bytes.fold(0u64, u64::saturating_add);
    (bytes > MAX_BYTES).then(|| format!("has {bytes} bytes in the needed columns; at most {MAX_BYTES} can be read"))
}

fn is_needed(column: &str) -> bool {
    COLUMNS.contains(&column) || is_tag_column(column)
}

/// Returns the schema of the file, reduced to the columns that are read.
fn projection(path: &Path, reader: &SerializedFileReader<File>) -> Result<Type, DataError> {
    let schema = reader.metadata().file_metadata().schema();
    let names: Vec<&str> = schema.get_fields().iter().map(|f| f.name()).collect();
    if names.len() > MAX_COLUMNS {
        let reason = format!(
            "has {} columns; at most {MAX_COLUMNS} can be read. Leave out those that are not needed",
            names.len()
        );
        return Err(DataError::Table { path: path.to_owned(), reason });
    }
    require_columns(path, &names)?;
    let fields = schema.get_fields().iter().filter(|f| is_needed(f.name())).map(Arc::clone).collect();
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

    /// Writes a table in which every image has the same path, tag and score, by the numbers of a dictionary.
    fn write_repeated(path: &Path, rows: usize, text: &str) {
        let schema =
            "message schema { REQUIRED BINARY path (UTF8); REQUIRED BINARY tag (UTF8); REQUIRED DOUBLE score; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let mut file = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::new(properties)).unwrap();
        let mut group = file.next_row_group().unwrap();
        for _ in 0..2 {
            let mut column = group.next_column().unwrap().unwrap();
            let values = vec![ByteArray::from(text); rows.min(10_000)];
            for _ in 0..rows.div_ceil(10_000) {
                column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
            }
            column.close().unwrap();
        }
        let mut column = group.next_column().unwrap().unwrap();
        let values = vec![1.0; rows.min(10_000)];
        for _ in 0..rows.div_ceil(10_000) {
            column.typed::<DoubleType>().write_batch(&values, None, None).unwrap();
        }
        column.close().unwrap();
        group.close().unwrap();
        file.close().unwrap();
    }

    #[test]
    fn a_small_file_with_many_rows_or_long_texts_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings.parquet");
        write_repeated(&path, 3_000_000, "a");
        let many = read(&path).unwrap_err().to_string();
        assert!(many.contains("has 3000000 rows; at most 2000000"), "{many}");
        assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);

        write_repeated(&path, 10_000, &"a".repeat(100_000));
        let long = read(&path).unwrap_err().to_string();
        assert!(long.contains("texts of more than 1073741824 bytes"), "{long}");
        assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
    }

    #[test]
    fn a_table_with_too_many_columns_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ratings.parquet");
        let columns: String = (0..MAX_COLUMNS).map(|i| format!("OPTIONAL DOUBLE c{i}; ")).collect();
        let schema = format!("message schema {{ REQUIRED BINARY path (UTF8); {columns} }}");
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let file = SerializedFileWriter::new(File::create(&path).unwrap(), schema, Arc::default()).unwrap();
        file.close().unwrap();
        let wide = read(&path).unwrap_err().to_string();
        assert!(wide.contains("has 10001 columns; at most 10000"), "{wide}");
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
