//! Counts and sizes of the database.

use jiff::Timestamp;

use super::error::{Result, StoreError};
use super::time::SqlTime;
use super::{SCHEMA_VERSION, Store};

const COUNTS: &str = "
    SELECT (SELECT count(*) FROM image), (SELECT count(*) FROM tag), f.present, f.missing, f.offline,
        s.scores, s.last_scored_at, e.failures, e.quarantined, p.page_count * z.page_size
    FROM (SELECT coalesce(sum(state = 'present'), 0) AS present, coalesce(sum(state = 'missing'), 0) AS missing,
              coalesce(sum(state = 'offline'), 0) AS offline FROM file) AS f,
        (SELECT count(*) AS scores, max(scored_at) AS last_scored_at FROM score) AS s,
        (SELECT count(*) AS failures, coalesce(sum(quarantined), 0) AS quarantined FROM failure) AS e,
        pragma_page_count AS p, pragma_page_size AS z";

/// Counts and sizes of the database. All counts are read in one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Number of distinct images.
    pub images: u64,
    /// Number of tags, with or without scores.
    pub tags: u64,
    /// Number of files that existed when they were last seen.
    pub files_present: u64,
    /// Number of files that were deleted or renamed.
    pub files_missing: u64,
    /// Number of files whose directory does not exist.
    pub files_offline: u64,
    /// Number of scores of all models.
    pub scores: u64,
    /// Time of the last recorded score; none without scores.
    pub last_scored_at: Option<Timestamp>,
    /// Number of files that could not be scored, including those in quarantine.
    pub failures: u64,
    /// Number of failed files in quarantine.
    pub quarantined: u64,
    /// Version of the database's schema.
    pub schema_version: u32,
    /// Size of the database without its write-ahead log, in bytes.
    pub database_bytes: u64,
    /// Size of the write-ahead log, in bytes.
    pub wal_bytes: u64,
}

impl Store {
    /// Returns counts and sizes. Reads the whole score table, so do not call it every second.
    pub fn counts(&self) -> Result<Counts> {
        let wal_bytes = self.wal_bytes()?;
        self.row(COUNTS, [], "count the records", |row| {
            let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.unsigned_abs());
            Ok(Counts {
                images: count(0)?,
                tags: count(1)?,
                files_present: count(2)?,
                files_missing: count(3)?,
                files_offline: count(4)?,
                scores: count(5)?,
                last_scored_at: row.get::<_, Option<SqlTime>>(6)?.map(|time| time.0),
                failures: count(7)?,
                quarantined: count(8)?,
                schema_version: SCHEMA_VERSION,
                database_bytes: count(9)?,
                wal_bytes,
            })
        })
    }

    fn wal_bytes(&self) -> Result<u64> {
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        match std::fs::metadata(wal) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(StoreError::Unreachable { path: self.path.clone(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::store::testing::{NOW, TempStore};
    use crate::store::{FileState, NewFailure, RetryPolicy, SCHEMA_VERSION};

    #[test]
    fn everything_is_counted() {
        let mut store = TempStore::new();
        let empty = store.counts().unwrap();
        assert_eq!((empty.images, empty.scores, empty.last_scored_at), (0, 0, None));
        assert_eq!((empty.files_present, empty.failures, empty.schema_version), (0, 0, SCHEMA_VERSION));

        let model = store.use_model("m");
        let image = store.add_image("a", &["/a", "/b", "/c", "/d"]);
        store.score(image, "birds", model, 1.0);
        store.score(image, "night", model, 1.0);
        let batch = store.begin().unwrap();
        batch.set_file_state(&["/b"], FileState::Missing, NOW).unwrap();
        batch.set_file_state(&["/c"], FileState::Offline, NOW).unwrap();
        for (path, max_attempts) in [("/x", 1), ("/y", 5)] {
            let failure = NewFailure {
                path: Path::new(path),
                stage: crate::store::Stage::Read,
                error: "gone",
                stamp: crate::store::testing::stamp(1, 1),
            };
            let max_attempts = std::num::NonZeroU32::new(max_attempts).unwrap();
            batch.record_failure(&failure, &RetryPolicy { max_attempts, ..RetryPolicy::default() }, NOW).unwrap();
        }
        batch.commit().unwrap();
        let counts = store.counts().unwrap();
        assert_eq!((counts.images, counts.tags, counts.scores, counts.last_scored_at), (1, 2, 2, Some(NOW)));
        assert_eq!((counts.files_present, counts.files_missing, counts.files_offline), (2, 1, 1));
        assert_eq!((counts.failures, counts.quarantined), (2, 1));
        assert!(counts.wal_bytes > 0);
        assert!(store.checkpoint().unwrap());
        let counts = store.counts().unwrap();
        assert_eq!(counts.wal_bytes, 0);
        assert_eq!(counts.database_bytes, std::fs::metadata(&store.path).unwrap().len());
    }
}
