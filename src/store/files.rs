//! The files in which images were found, with their image and state. Callers access the file system; this module does not.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Row, params};

use super::error::Result;
use super::paths::{SqlPath, SqlPathBuf, ranges_after, ranges_under};
use super::time::SqlTime;
use super::{Batch, ImageId, Store, sql_size};
use crate::identity::RecordedStamp;

pub(super) const LOOK_UP: &str = "SELECT image_id, size_bytes, mtime_ns, state FROM file WHERE path = ?1";
pub(super) const UNDER: &str = "
    SELECT path, state FROM file WHERE path > ?1 AND path < ?2 ORDER BY path LIMIT ?3";
pub(super) const OFFLINE_UNDER: &str =
    "UPDATE file SET state = 'offline', seen_at = ?3 WHERE path > ?1 AND path < ?2 AND state = 'present'";

/// Recorded state of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileState {
    /// The file existed when it was last seen.
    Present,
    /// The file was deleted or renamed.
    Missing,
    /// The directory does not exist, for example because a card or network share is not mounted. The file may still exist.
    Offline,
}

impl FileState {
    /// Returns the value stored in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Missing => "missing",
            Self::Offline => "offline",
        }
    }
}

impl ToSql for FileState {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.as_str().to_sql()
    }
}

impl FromSql for FileState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "present" => Ok(Self::Present),
            "missing" => Ok(Self::Missing),
            "offline" => Ok(Self::Offline),
            other => Err(FromSqlError::other(std::io::Error::other(format!("unknown file state {other:?}")))),
        }
    }
}

/// Result of looking up one version of a file in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileLookup {
    /// No file is recorded under this path.
    Unknown,
    /// The recorded size or modification time differs, so the file may show another image now.
    Changed,
    /// This version of the file is recorded.
    Known {
        /// The image in the file.
        image_id: ImageId,
        /// The recorded state. If it is not `Present`, correct it with [`Batch::set_file_state`].
        state: FileState,
    },
}

/// A file that the database has recorded, with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Path of the file.
    pub path: PathBuf,
    /// State of the file when it was last seen.
    pub state: FileState,
}

impl Store {
    /// Looks up this version of the file at `path`. Fast enough to call for every file of every scan.
    pub fn file_state(&self, path: &Path, stamp: RecordedStamp) -> Result<FileLookup> {
        let found = self.optional_row(LOOK_UP, [SqlPath(path)], "look up a file", |row| {
            let same = stamp_in(row, 1)? == stamp;
            let known = FileLookup::Known { image_id: row.get(0)?, state: row.get(3)? };
            Ok(if same { known } else { FileLookup::Changed })
        })?;
        Ok(found.unwrap_or(FileLookup::Unknown))
    }

    /// Returns one page of the recorded files under the directory `root`: at most `limit`, in a fixed order, after `after`.
    ///
    /// To read all files with constant memory, pass the last path of each page as `after` for the next page, until a page is empty.
    pub fn files_under(&self, root: &Path, after: Option<&Path>, limit: usize) -> Result<Vec<FileRow>> {
        let mut files = Vec::new();
        for range in ranges_after(root, after) {
            let left = limit - files.len();
            files.extend(self.rows(
                UNDER,
                params![range.lower, range.upper, sql_limit(left)],
                "list files",
                file_row,
            )?);
        }
        Ok(files)
    }
}

impl Batch<'_> {
    /// Records that this version of the file at `path` is present and shows an image.
    pub fn record_file(&self, path: &Path, image_id: ImageId, stamp: RecordedStamp, now: Timestamp) -> Result<()> {
        self.execute(
            "INSERT INTO file (path, image_id, size_bytes, mtime_ns, state, seen_at) VALUES (?1, ?2, ?3, ?4, 'present', ?5)
             ON CONFLICT (path) DO UPDATE SET image_id = excluded.image_id, size_bytes = excluded.size_bytes,
                 mtime_ns = excluded.mtime_ns, state = excluded.state, seen_at = excluded.seen_at",
            params![SqlPath(path), image_id, sql_size(stamp.size_bytes), stamp.mtime_ns, SqlTime(now)],
            "record a file",
        )
        .map(drop)
    }

    /// Sets the state of recorded files and returns the number of changed rows. Paths that are not recorded are ignored.
    pub fn set_file_state<P: AsRef<Path>>(&self, paths: &[P], state: FileState, now: Timestamp) -> Result<usize> {
        let mut changed = 0;
        for path in paths {
            changed += self.execute(
                "UPDATE file SET state = ?2, seen_at = ?3 WHERE path = ?1 AND state <> ?2",
                params![SqlPath(path.as_ref()), state, SqlTime(now)],
                "record the state of a file",
            )?;
        }
        Ok(changed)
    }

    /// Marks all present files under the directory `root` as offline. Returns the number of changed rows.
    pub fn set_offline_under(&self, root: &Path, now: Timestamp) -> Result<usize> {
        let mut changed = 0;
        for range in ranges_under(root) {
            let values = params![range.lower, range.upper, SqlTime(now)];
            changed += self.execute(OFFLINE_UNDER, values, "record that a directory is offline")?;
        }
        Ok(changed)
    }
}

/// Converts a limit to SQLite's signed integer. Limits above `i64::MAX` do not occur in practice and are clamped.
pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Reads a stamp from two columns: the size from `column`, the modification time from `column + 1`.
pub(super) fn stamp_in(row: &Row<'_>, column: usize) -> rusqlite::Result<RecordedStamp> {
    Ok(RecordedStamp { size_bytes: row.get::<_, i64>(column)?.unsigned_abs(), mtime_ns: row.get(column + 1)? })
}

fn file_row(row: &Row<'_>) -> rusqlite::Result<FileRow> {
    Ok(FileRow { path: row.get::<_, SqlPathBuf>(0)?.0, state: row.get(1)? })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::store::testing::{NOW, TempStore, raw_path, stamp};

    /// Returns the paths of the present files that show an image, in table order.
    fn files_of_image(store: &Store, image_id: ImageId) -> Vec<PathBuf> {
        let sql = "SELECT path FROM file WHERE image_id = ?1 AND state = 'present' ORDER BY path";
        store.rows(sql, [image_id], "list the files of an image", |row| Ok(row.get::<_, SqlPathBuf>(0)?.0)).unwrap()
    }

    #[test]
    fn a_file_is_unknown_then_known_then_changed() {
        let mut store = TempStore::new();
        let path = Path::new("/a/b.jpg");
        assert_eq!(store.file_state(path, stamp(1, 2)).unwrap(), FileLookup::Unknown);
        let image_id = store.add_image("b", &["/a/b.jpg"]);
        let known = FileLookup::Known { image_id, state: FileState::Present };
        assert_eq!(store.file_state(path, stamp(100, 1)).unwrap(), known);
        assert_eq!(store.file_state(path, stamp(101, 1)).unwrap(), FileLookup::Changed);
        assert_eq!(store.file_state(path, stamp(100, 2)).unwrap(), FileLookup::Changed);
    }

    #[test]
    fn a_copy_and_a_rename_show_the_same_image() {
        let mut store = TempStore::new();
        let image_id = store.add_image("b", &["/a/b.jpg"]);
        assert_eq!(store.add_image("b", &["/a/copy.jpg"]), image_id);
        let batch = store.begin().unwrap();
        assert_eq!(batch.set_file_state(&["/a/b.jpg", "/unknown"], FileState::Missing, NOW).unwrap(), 1);
        assert_eq!(batch.set_file_state(&["/a/b.jpg"], FileState::Missing, NOW).unwrap(), 0);
        batch.commit().unwrap();
        assert_eq!(files_of_image(&store, image_id), [PathBuf::from("/a/copy.jpg")]);
        let missing = FileLookup::Known { image_id, state: FileState::Missing };
        assert_eq!(store.file_state(Path::new("/a/b.jpg"), stamp(100, 1)).unwrap(), missing);
    }

    #[test]
    fn odd_names_read_back_byte_for_byte() {
        let mut store = TempStore::new();
        let image_id = store.add_image("b", &[]);
        let names: [&[u8]; 5] =
            [b"/d/a\nb.jpg", b"/d/it's \"it\".jpg", b"/d/\xff\xfe.jpg", "/d/\u{e9}.jpg".as_bytes(), b"/d/%_.jpg"];
        let batch = store.begin().unwrap();
        for name in names {
            batch.record_file(Path::new(OsStr::from_bytes(name)), image_id, stamp(1, 2), NOW).unwrap();
        }
        batch.commit().unwrap();
        for name in names {
            let found = store.file_state(Path::new(OsStr::from_bytes(name)), stamp(1, 2)).unwrap();
            assert_eq!(found, FileLookup::Known { image_id, state: FileState::Present });
        }
        let mut found = files_of_image(&store, image_id);
        found.sort();
        let mut expected = names.map(|name| PathBuf::from(OsStr::from_bytes(name)));
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn files_under_a_directory_are_listed_page_by_page() {
        let mut store = TempStore::new();
        let image_id =
            store.add_image("b", &["/a/b/1.jpg", "/a/b/c/2.jpg", "/a/b/%_", "/a/bc/3.jpg", "/a/b", "/a/b0", "/a/xb/4"]);
        let raw = raw_path(b"/a/b/\xff.jpg");
        let batch = store.begin().unwrap();
        batch.record_file(&raw, image_id, stamp(1, 2), NOW).unwrap();
        batch.commit().unwrap();

        let expected = [PathBuf::from("/a/b/%_"), "/a/b/1.jpg".into(), "/a/b/c/2.jpg".into(), raw];
        for limit in 1..6 {
            let mut seen: Vec<PathBuf> = Vec::new();
            loop {
                let page = store.files_under(Path::new("/a/b"), seen.last().map(PathBuf::as_path), limit).unwrap();
                assert!(page.len() <= limit);
                if page.is_empty() {
                    break;
                }
                seen.extend(page.into_iter().map(|file| file.path));
            }
            assert_eq!(seen, expected, "limit {limit}");
        }
        assert_eq!(store.files_under(Path::new("/"), None, 100).unwrap().len(), 8);
        assert!(store.files_under(Path::new("/a/_"), None, 100).unwrap().is_empty());
        assert!(store.files_under(Path::new("/a/%"), None, 100).unwrap().is_empty());
    }

    #[test]
    fn a_directory_that_is_gone_takes_only_its_own_present_files_offline() {
        let mut store = TempStore::new();
        let image_id = store.add_image("b", &["/card/1.jpg", "/card/2.jpg", "/card2/3.jpg"]);
        let batch = store.begin().unwrap();
        batch.record_file(&raw_path(b"/card/\xff"), image_id, stamp(1, 2), NOW).unwrap();
        batch.set_file_state(&["/card/2.jpg"], FileState::Missing, NOW).unwrap();
        assert_eq!(batch.set_offline_under(Path::new("/card"), NOW).unwrap(), 2);
        batch.commit().unwrap();
        let states: Vec<FileState> =
            store.files_under(Path::new("/"), None, 9).unwrap().into_iter().map(|file| file.state).collect();
        assert_eq!(states, [FileState::Offline, FileState::Missing, FileState::Present, FileState::Offline]);
    }
}
