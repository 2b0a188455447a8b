//! The ledger of files that could not be scored: number of attempts, time of the next attempt, quarantine. This module does not
//! access the files. A failure of one file does not affect other files.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::error::Result;
use super::files::{sql_limit, stamp_in};
use super::paths::{SqlPath, SqlPathBuf, ranges_after, ranges_under};
use super::time::SqlTime;
use super::{Batch, Stage, Store, sql_size};
use crate::identity::RecordedStamp;

pub(super) const OF_PATH: &str = "
    SELECT path, stage, error, attempts, next_retry_at, quarantined, size_bytes, mtime_ns, first_failed_at, last_failed_at
    FROM failure WHERE path = ?1";
pub(super) const AFTER_PATH: &str = "
    SELECT path, stage, error, attempts, next_retry_at, quarantined, size_bytes, mtime_ns, first_failed_at, last_failed_at
    FROM failure WHERE path > ?1 ORDER BY path LIMIT ?2";
pub(super) const UNDER: &str = "SELECT path FROM failure WHERE path > ?1 AND path < ?2 ORDER BY path LIMIT ?3";
pub(super) const DUE: &str = "
    SELECT path FROM failure WHERE quarantined = 0 AND next_retry_at <= ?1 ORDER BY next_retry_at LIMIT ?2";
pub(super) const NEXT_DUE: &str = "SELECT min(next_retry_at) FROM failure WHERE quarantined = 0";

/// Rule for the retries of a failed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Wait after the first failure. It doubles with each further failure.
    pub first_delay: Duration,
    /// Upper limit of the wait.
    pub max_delay: Duration,
    /// Number of failures after which the file is quarantined.
    pub max_attempts: NonZeroU32,
}

impl Default for RetryPolicy {
    /// Waits one minute after the first failure and twice as long after each further one, at most a day. The tenth failure
    /// quarantines the file. Ten attempts take eight and a half hours, so that a user has time to correct the cause, such as
    /// wrong permissions.
    fn default() -> Self {
        let max_attempts = NonZeroU32::MIN.saturating_add(9);
        Self { first_delay: Duration::from_secs(60), max_delay: Duration::from_secs(24 * 60 * 60), max_attempts }
    }
}

impl RetryPolicy {
    /// Returns the time of the next attempt after `attempts` failures, the last one at `now`. None means quarantine.
    pub fn next_retry(&self, attempts: u32, now: Timestamp) -> Option<Timestamp> {
        if attempts >= self.max_attempts.get() {
            return None;
        }
        let doublings = 2u32.saturating_pow(attempts.saturating_sub(1));
        let delay = self.first_delay.saturating_mul(doublings).min(self.max_delay);
        Some(now.checked_add(delay).unwrap_or(Timestamp::MAX))
    }
}

/// A failed attempt to score a file.
#[derive(Debug, Clone, Copy)]
pub struct NewFailure<'a> {
    /// Path of the file.
    pub path: &'a Path,
    /// Stage at which the file failed.
    pub stage: Stage,
    /// Error message, for the user.
    pub error: &'a str,
    /// Stamp of the file when it failed.
    pub stamp: RecordedStamp,
}

/// A file that could not be scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Path of the file.
    pub path: PathBuf,
    /// Stage of the last failure.
    pub stage: Stage,
    /// Error message of the last failure.
    pub error: String,
    /// Number of failures since the file last changed or was released with [`Store::retry_failures`].
    pub attempts: u32,
    /// Time of the next attempt; none if quarantined.
    pub next_retry_at: Option<Timestamp>,
    /// True if the file is retried only on request or after a change.
    pub quarantined: bool,
    /// Stamp of the file at the last failure.
    pub stamp: RecordedStamp,
    /// Time of the first failure since the file last changed.
    pub first_failed_at: Timestamp,
    /// Time of the last failure.
    pub last_failed_at: Timestamp,
}

impl Failure {
    /// Returns true if this version of the file should be tried: the file has changed since its failure, or a retry is due.
    pub fn should_try(&self, stamp: RecordedStamp, now: Timestamp) -> bool {
        self.stamp != stamp || self.next_retry_at.is_some_and(|due| due <= now)
    }
}

impl Store {
    /// Returns the failure of one file.
    pub fn failure_of(&self, path: &Path) -> Result<Option<Failure>> {
        self.optional_row(OF_PATH, [SqlPath(path)], "look up a failure", failure_row)
    }

    /// Returns one page of the failures: at most `limit`, ordered by path, after the path `after`.
    pub fn failures(&self, after: Option<&Path>, limit: usize) -> Result<Vec<Failure>> {
        // The empty text sorts before every path.
        let after = SqlPath(after.unwrap_or(Path::new("")));
        self.rows(AFTER_PATH, params![after, sql_limit(limit)], "list the failures", failure_row)
    }

    /// Returns one page of the failed files under the directory `root`, at most `limit`. Paging works as in [`Store::files_under`].
    pub fn failed_files_under(&self, root: &Path, after: Option<&Path>, limit: usize) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for range in ranges_after(root, after) {
            let values = params![range.lower, range.upper, sql_limit(limit - files.len())];
            files.extend(self.rows(UNDER, values, "list failed files", |row| Ok(row.get::<_, SqlPathBuf>(0)?.0))?);
        }
        Ok(files)
    }

    /// Returns at most `limit` files whose next attempt is due, the earliest due time first.
    pub fn failures_due(&self, now: Timestamp, limit: usize) -> Result<Vec<PathBuf>> {
        let values = params![SqlTime(now), sql_limit(limit)];
        self.rows(DUE, values, "list the failures that are due", |row| Ok(row.get::<_, SqlPathBuf>(0)?.0))
    }

    /// Returns the time of the next attempt of any file; none if no retry is pending.
    pub fn next_failure_due(&self) -> Result<Option<Timestamp>> {
        self.row(NEXT_DUE, [], "look up the next attempt", |row| {
            Ok(row.get::<_, Option<SqlTime>>(0)?.map(|time| time.0))
        })
    }

    /// Makes failures due immediately, ends their quarantine and resets their attempts to 0. Returns the number of failures.
    ///
    /// `path` selects a file or all files under a directory; none selects all failures.
    pub fn retry_failures(&mut self, path: Option<&Path>, now: Timestamp) -> Result<usize> {
        const RETRY: &str = "UPDATE failure SET attempts = 0, quarantined = 0, next_retry_at = ?1";
        let doing = "retry failures";
        let now = SqlTime(now);
        let batch = self.begin()?;
        let mut due = 0;
        match path {
            None => due += batch.execute(RETRY, [now], doing)?,
            Some(path) => {
                due += batch.execute(&format!("{RETRY} WHERE path = ?2"), params![now, SqlPath(path)], doing)?;
                for range in ranges_under(path) {
                    let sql = format!("{RETRY} WHERE path > ?2 AND path < ?3");
                    due += batch.execute(&sql, params![now, range.lower, range.upper], doing)?;
                }
            }
        }
        batch.commit()?;
        Ok(due)
    }
}

impl Batch<'_> {
    /// Records a failed attempt and the time of the next one.
    ///
    /// If the file has changed since its last failure, the count of attempts starts again at 1. If the file table holds
    /// another version of the file, that row is deleted.
    pub fn record_failure(&self, failure: &NewFailure<'_>, policy: &RetryPolicy, now: Timestamp) -> Result<()> {
        let doing = "record a failure";
        let path = SqlPath(failure.path);
        let RecordedStamp { size_bytes, mtime_ns } = failure.stamp;
        let size_bytes = sql_size(size_bytes);
        let old = self.failure_of(failure.path)?.filter(|old| old.stamp == failure.stamp);
        let attempts = old.as_ref().map_or(0, |old| old.attempts).saturating_add(1);
        let first_failed_at = old.map_or(now, |old| old.first_failed_at);
        let next_retry_at = policy.next_retry(attempts, now);
        self.execute(
            "INSERT OR REPLACE INTO failure (path, stage, error, attempts, next_retry_at, quarantined, size_bytes, mtime_ns,
                 first_failed_at, last_failed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                path,
                failure.stage,
                failure.error,
                attempts,
                next_retry_at.map(SqlTime),
                next_retry_at.is_none(),
                size_bytes,
                mtime_ns,
                SqlTime(first_failed_at),
                SqlTime(now),
            ],
            doing,
        )?;
        let sql = "DELETE FROM file WHERE path = ?1 AND (size_bytes <> ?2 OR mtime_ns <> ?3)";
        self.execute(sql, params![path, size_bytes, mtime_ns], doing).map(drop)
    }

    /// Deletes the failure of a file that was scored or no longer exists.
    pub fn clear_failure(&self, path: &Path) -> Result<()> {
        self.execute("DELETE FROM failure WHERE path = ?1", [SqlPath(path)], "delete a failure").map(drop)
    }
}

fn failure_row(row: &Row<'_>) -> rusqlite::Result<Failure> {
    Ok(Failure {
        path: row.get::<_, SqlPathBuf>(0)?.0,
        stage: row.get(1)?,
        error: row.get(2)?,
        attempts: row.get(3)?,
        next_retry_at: row.get::<_, Option<SqlTime>>(4)?.map(|time| time.0),
        quarantined: row.get(5)?,
        stamp: stamp_in(row, 6)?,
        first_failed_at: row.get::<_, SqlTime>(8)?.0,
        last_failed_at: row.get::<_, SqlTime>(9)?.0,
    })
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use crate::store::FileLookup;
    use crate::store::testing::{NOW, TempStore, raw_path, stamp};

    fn policy(max_attempts: u32) -> RetryPolicy {
        RetryPolicy { max_attempts: NonZeroU32::new(max_attempts).unwrap(), ..RetryPolicy::default() }
    }

    fn fail(store: &mut TempStore, path: &str, mtime_ns: i64, max_attempts: u32, now: Timestamp) {
        let path = Path::new(path);
        let failure = NewFailure { path, stage: Stage::Decode, error: "not a JPEG", stamp: stamp(10, mtime_ns) };
        let batch = store.begin().unwrap();
        batch.record_failure(&failure, &policy(max_attempts), now).unwrap();
        batch.commit().unwrap();
    }

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_ends() {
        let policy = policy(20);
        let wait = |attempts| policy.next_retry(attempts, NOW).map(|at| at.duration_since(NOW).as_secs());
        assert_eq!([wait(1), wait(2), wait(3)], [Some(60), Some(120), Some(240)]);
        assert_eq!([wait(11), wait(12), wait(19)], [Some(61_440), Some(86_400), Some(86_400)]);
        assert_eq!([wait(20), wait(u32::MAX)], [None, None]);
    }

    #[test]
    fn a_file_is_tried_with_growing_waits_then_quarantined() {
        let mut store = TempStore::new();
        fail(&mut store, "/a", 1, 3, NOW);
        assert_eq!(store.failures_due(NOW + 59.seconds(), 9).unwrap(), [] as [PathBuf; 0]);
        assert_eq!(store.failures_due(NOW + 60.seconds(), 9).unwrap(), [PathBuf::from("/a")]);
        assert_eq!(store.next_failure_due().unwrap(), Some(NOW + 60.seconds()));

        fail(&mut store, "/a", 1, 3, NOW + 60.seconds());
        fail(&mut store, "/a", 1, 3, NOW + 180.seconds());
        let failure = store.failure_of(Path::new("/a")).unwrap().unwrap();
        assert_eq!((failure.attempts, failure.quarantined, failure.next_retry_at), (3, true, None));
        assert_eq!((failure.first_failed_at, failure.last_failed_at), (NOW, NOW + 180.seconds()));
        assert_eq!((failure.stage, failure.error.as_str()), (Stage::Decode, "not a JPEG"));
        assert!(!failure.should_try(stamp(10, 1), NOW + 9999.hours()));
        assert!(failure.should_try(stamp(10, 2), NOW));
        assert!(store.failures_due(NOW + 9999.hours(), 9).unwrap().is_empty());
        assert_eq!(store.next_failure_due().unwrap(), None);
    }

    #[test]
    fn a_changed_file_starts_anew_and_a_scored_one_is_forgotten() {
        let mut store = TempStore::new();
        fail(&mut store, "/a", 1, 1, NOW);
        fail(&mut store, "/a", 2, 2, NOW);
        let failure = store.failure_of(Path::new("/a")).unwrap().unwrap();
        assert_eq!((failure.attempts, failure.quarantined), (1, false));
        let batch = store.begin().unwrap();
        batch.clear_failure(Path::new("/a")).unwrap();
        batch.commit().unwrap();
        assert_eq!(store.failure_of(Path::new("/a")).unwrap(), None);
    }

    #[test]
    fn a_file_that_broke_no_longer_shows_its_old_image() {
        let mut store = TempStore::new();
        store.add_image("a", &["/a", "/kept"]);
        fail(&mut store, "/a", 2, 3, NOW);
        assert_eq!(store.file_state(Path::new("/a"), stamp(100, 1)).unwrap(), FileLookup::Unknown);
        assert!(matches!(store.file_state(Path::new("/kept"), stamp(100, 1)).unwrap(), FileLookup::Known { .. }));
    }

    #[test]
    fn retrying_takes_a_file_a_directory_or_all() {
        let mut store = TempStore::new();
        for path in ["/d/1", "/d/2", "/dd/3"] {
            fail(&mut store, path, 1, 1, NOW);
        }
        let raw = raw_path(b"/d/\xff\n");
        let failure = NewFailure { path: &raw, stage: Stage::Read, error: "gone", stamp: stamp(1, 1) };
        let batch = store.begin().unwrap();
        batch.record_failure(&failure, &policy(1), NOW).unwrap();
        batch.commit().unwrap();

        let under = |after: Option<&Path>, limit| store.failed_files_under(Path::new("/d"), after, limit).unwrap();
        assert_eq!(under(None, 9), [Path::new("/d/1"), Path::new("/d/2"), &raw]);
        assert_eq!(under(None, 1), [PathBuf::from("/d/1")]);
        assert_eq!(under(Some(Path::new("/d/1")), 9), [Path::new("/d/2"), &raw]);

        assert_eq!(store.retry_failures(Some(Path::new("/d/1")), NOW).unwrap(), 1);
        assert_eq!(store.failures_due(NOW, 9).unwrap(), [PathBuf::from("/d/1")]);
        assert_eq!(store.retry_failures(Some(Path::new("/d")), NOW).unwrap(), 3);
        assert_eq!(store.retry_failures(None, NOW).unwrap(), 4);
        assert_eq!(store.failures_due(NOW, 9).unwrap().len(), 4);
        let first = store.failures(None, 3).unwrap();
        assert_eq!(
            first.iter().map(|f| f.path.as_path()).collect::<Vec<_>>(),
            ["/d/1", "/d/2", "/dd/3"].map(Path::new)
        );
        assert_eq!(store.failures(Some(&first[2].path), 3).unwrap()[0].path, raw);
    }
}
