//! Conversion of paths to database keys, and the key ranges of a directory. UTF-8 paths are stored as text, others as blobs of
//! their raw bytes. This module does not access the file system.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};

/// A path to be written to the database.
pub(super) struct SqlPath<'a>(pub &'a Path);

impl ToSql for SqlPath<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let bytes = self.0.as_os_str().as_bytes();
        Ok(ToSqlOutput::Borrowed(match self.0.to_str() {
            Some(_) => ValueRef::Text(bytes),
            None => ValueRef::Blob(bytes),
        }))
    }
}

/// A path read from the database.
pub(super) struct SqlPathBuf(pub PathBuf);

impl FromSql for SqlPathBuf {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Text(bytes) => Ok(Self(OsStr::from_bytes(bytes).into())),
            ValueRef::Blob(bytes) => Ok(Self(OsString::from_vec(bytes.to_vec()).into())),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// A range of path keys; both ends are exclusive.
#[derive(Debug, PartialEq)]
pub(super) struct KeyRange {
    pub lower: Value,
    pub upper: Value,
}

/// Returns the key ranges of all paths under the directory `root`, in table order: text before raw bytes.
///
/// Ranges are used instead of LIKE patterns, so that `%` and `_` are ordinary characters. `/a/b/` to `/a/b0` excludes `/a/bc`
/// (`0` follows `/` in ASCII).
pub(super) fn ranges_under(root: &Path) -> Vec<KeyRange> {
    let mut lower: Vec<u8> = root.components().collect::<PathBuf>().into_os_string().into_vec();
    if lower.last() != Some(&b'/') {
        lower.push(b'/');
    }
    let mut upper = lower.clone();
    upper.pop();
    upper.push(b'/' + 1);
    let text = match (String::from_utf8(lower.clone()), String::from_utf8(upper.clone())) {
        (Ok(lower), Ok(upper)) => Some(KeyRange { lower: Value::Text(lower), upper: Value::Text(upper) }),
        _ => None,
    };
    let raw = KeyRange { lower: Value::Blob(lower), upper: Value::Blob(upper) };
    text.into_iter().chain([raw]).collect()
}

/// Returns the part of `ranges_under(root)` that follows the path `after`.
pub(super) fn ranges_after(root: &Path, after: Option<&Path>) -> Vec<KeyRange> {
    let mut ranges = ranges_under(root);
    let Some(after) = after else { return ranges };
    let after_is_text = after.to_str().is_some();
    if !after_is_text {
        ranges.retain(|range| matches!(range.lower, Value::Blob(_)));
    }
    for range in &mut ranges {
        if matches!(range.lower, Value::Text(_)) == after_is_text {
            range.lower = key(after);
        }
    }
    ranges
}

fn key(path: &Path) -> Value {
    match path.to_str() {
        Some(text) => Value::Text(text.to_owned()),
        None => Value::Blob(path.as_os_str().as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_a_range_between_slash_and_its_successor() {
        let ranges = ranges_under(Path::new("/a/b/"));
        let text = |s: &str| Value::Text(s.into());
        assert_eq!(ranges[0], KeyRange { lower: text("/a/b/"), upper: text("/a/b0") });
        assert_eq!(ranges[1], KeyRange { lower: Value::Blob(b"/a/b/".into()), upper: Value::Blob(b"/a/b0".into()) });
        assert_eq!(ranges_under(Path::new("/"))[0], KeyRange { lower: text("/"), upper: text("0") });
    }

    #[test]
    fn a_directory_that_is_not_utf8_holds_raw_keys_only() {
        let root = Path::new(OsStr::from_bytes(b"/a/\xff"));
        assert_eq!(ranges_under(root).len(), 1);
        let after = Path::new(OsStr::from_bytes(b"/a/\xff/x"));
        let ranges = ranges_after(root, Some(after));
        assert_eq!(ranges[0].lower, Value::Blob(b"/a/\xff/x".into()));
    }

    #[test]
    fn paging_goes_from_text_to_raw_bytes() {
        let root = Path::new("/a");
        let after_text = ranges_after(root, Some(Path::new("/a/x")));
        assert_eq!(after_text[0].lower, Value::Text("/a/x".into()));
        assert_eq!(after_text[1].lower, Value::Blob(b"/a/".into()));
        let after_raw = ranges_after(root, Some(Path::new(OsStr::from_bytes(b"/a/\xff"))));
        assert_eq!(after_raw.len(), 1);
    }
}
