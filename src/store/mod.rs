//! The SQLite database of images, files, tags, scores and failures. Only this module uses rusqlite.
//!
//! [`Store::open`] opens the single writer of a process, [`Store::open_read_only`] any number of readers. SQLite's WAL mode
//! lets them work at the same time. A store is used by one thread at a time. Writes go through a [`Batch`], one transaction
//! for many images, because each commit takes time and wears flash memory.
//!
//! This module reads no images, no directories and no clock; callers pass the current time. The tables are public and
//! described in `schema.sql`.

mod batch;
mod damage;
mod error;
mod failures;
mod files;
mod images;
mod migrations;
mod models;
mod paths;
mod schema;
mod scores;
mod stage;
mod status;
mod tags;
mod time;
mod top;

#[cfg(test)]
mod plans;
#[cfg(test)]
mod testing;

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, MAIN_DB, OpenFlags, OptionalExtension, Params, Row};

use crate::identity::ContentId;

pub use batch::Batch;
pub use damage::set_aside_if_damaged;
pub use error::{Result, StoreError};
pub use failures::{Failure, NewFailure, RetryPolicy};
pub use files::{FileLookup, FileRow, FileState};
pub use images::{ImageRow, NewEmbedding, NewImage, StoredEmbedding, StoredImage};
pub use migrations::SCHEMA_VERSION;
pub use models::{Model, NewModel};
pub use scores::NewScore;
pub use stage::Stage;
pub use status::Counts;
pub use tags::{ImageTag, TagReason, TagSummary};
pub use top::TopRow;

/// Time for which a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Size limit of the write-ahead log after a checkpoint. A larger log is truncated, so that it does not stay large after a
/// burst of writes.
const WAL_LIMIT_BYTES: i64 = 4 << 20;

/// Capacity of the cache of prepared statements; enough for all statements of a scan and a batch.
const PREPARED_STATEMENTS: usize = 64;

/// Row number of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(pub i64);

/// Row number of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagId(pub i64);

/// Row number of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(pub i64);

macro_rules! sql_id {
    ($($id:ident),*) => {$(
        impl ToSql for $id {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }
        impl FromSql for $id {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                i64::column_result(value).map(Self)
            }
        }
    )*};
}
sql_id!(ImageId, TagId, ModelId);

impl ToSql for ContentId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.to_string()))
    }
}

impl FromSql for ContentId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        let invalid = || {
            FromSqlError::other(std::io::Error::other(format!("{text:?} is not a content id of 64 hexadecimal digits")))
        };
        Self::from_hex(text).ok_or_else(invalid)
    }
}

/// An open connection to the database.
#[derive(Debug)]
pub struct Store {
    conn: Connection,
    path: PathBuf,
    migrated_from: Option<u32>,
}

impl Store {
    /// Opens the database for reading and writing.
    ///
    /// A missing database and its directory are created, accessible to this user only. An older schema is migrated.
    ///
    /// # Errors
    /// Refuses a file that is not a database of this program and a newer schema; both stay unchanged.
    pub fn open(path: &Path) -> Result<Self> {
        let path = &absolute(path)?;
        create_private(path).map_err(|source| StoreError::Create { path: path.to_owned(), source })?;
        let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        migrations::require_ours(&conn, path)?;
        let fail = |source| StoreError::from_sqlite(path, "open the database for writing", source);
        if conn.is_readonly(MAIN_DB).map_err(fail)? {
            return Err(StoreError::ReadOnly { path: path.to_owned(), doing: "open the database for writing" });
        }
        let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(fail)?;
        if mode != "wal" {
            conn.pragma_update(None, "journal_mode", "wal").map_err(fail)?;
        }
        // In WAL mode, NORMAL can lose the last commits in a power cut but keeps the database consistent. The next scan scores
        // the lost images again.
        conn.pragma_update(None, "synchronous", "normal").map_err(fail)?;
        conn.pragma_update(None, "journal_size_limit", WAL_LIMIT_BYTES).map_err(fail)?;
        conn.pragma_update(None, "foreign_keys", false).map_err(fail)?;
        let migrated_from = migrations::bring_up_to_date(&mut conn, path)?;
        conn.pragma_update(None, "foreign_keys", true).map_err(fail)?;
        schema::require_own(&conn, path)?;
        Ok(Self { conn, path: path.to_owned(), migrated_from })
    }

    /// Opens an existing database for reading. A writer in this or another process may have it open at the same time.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no database; none is created. Refuses a file that is not a database of this program,
    /// and an older or newer schema.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        let path = &absolute(path)?;
        if !path.try_exists().map_err(|source| StoreError::Unreachable { path: path.to_owned(), source })? {
            return Err(StoreError::NotFound { path: path.to_owned() });
        }
        let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        migrations::require_current(&conn, path)?;
        schema::require_own(&conn, path)?;
        Ok(Self { conn, path: path.to_owned(), migrated_from: None })
    }

    /// Returns the schema version from which [`Store::open`] migrated the database; none if it did not migrate.
    pub fn migrated_from(&self) -> Option<u32> {
        self.migrated_from
    }

    /// Runs `work` in one read transaction and returns its result.
    ///
    /// All queries of `work` read the same state of the database. Many small queries run faster in one transaction than in one
    /// transaction each.
    pub fn in_read_transaction<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let reading = self.conn.unchecked_transaction().map_err(self.fail("start a read transaction"))?;
        let done = work();
        reading.commit().map_err(self.fail("end a read transaction"))?;
        Ok(done)
    }

    /// Copies the write-ahead log into the database and truncates it to zero bytes. Returns false if another connection prevents
    /// it; try again later.
    pub fn checkpoint(&mut self) -> Result<bool> {
        self.row("PRAGMA wal_checkpoint(TRUNCATE)", [], "truncate the write-ahead log", |row| {
            Ok(row.get::<_, i64>(0)? == 0)
        })
    }

    fn fail(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        move |source| StoreError::from_sqlite(&self.path, doing, source)
    }

    fn execute(&self, sql: &str, params: impl Params, doing: &'static str) -> Result<usize> {
        self.conn.prepare_cached(sql).and_then(|mut s| s.execute(params)).map_err(self.fail(doing))
    }

    fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        doing: &'static str,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.conn.prepare_cached(sql).and_then(|mut s| s.query_row(params, read)).map_err(self.fail(doing))
    }

    fn optional_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        doing: &'static str,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.conn.prepare_cached(sql).and_then(|mut s| s.query_row(params, read).optional()).map_err(self.fail(doing))
    }

    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        doing: &'static str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let rows = |mut s: rusqlite::CachedStatement<'_>| s.query_map(params, read)?.collect();
        self.conn.prepare_cached(sql).and_then(rows).map_err(self.fail(doing))
    }
}

/// Makes a path absolute, so that it stays valid when the process changes its working directory. SQLite then also treats
/// `:memory:` and `file:` as plain file names.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|source| StoreError::Unreachable { path: path.to_owned(), source })
}

/// Creates an empty file that only this user can access, and its directory. SQLite gives `-wal` and `-shm` the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

/// Refuses a directory, and a file that is too small for a database but not empty. SQLite treats a file of one byte as an
/// empty database.
///
/// Only the metadata is checked: opening and closing the file outside SQLite would release this process's POSIX locks on it.
fn require_database(path: &Path) -> Result<()> {
    const SMALLEST_BYTES: u64 = 512;
    let unreachable = |source| StoreError::Unreachable { path: path.to_owned(), source };
    let metadata = std::fs::symlink_metadata(path).map_err(unreachable)?;
    if metadata.is_symlink() {
        return Err(StoreError::Link { path: path.to_owned() });
    }
    if !metadata.is_file() || (1..SMALLEST_BYTES).contains(&metadata.len()) {
        return Err(StoreError::NotADatabase { path: path.to_owned() });
    }
    Ok(())
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection> {
    require_database(path)?;
    let fail = |source| StoreError::from_sqlite(path, "open the database", source);
    let conn = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(fail)?;
    conn.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
    conn.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
    // Make query plans independent of bound values. Otherwise SQLite prepares some statements again for each new value.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(fail)?;
    // A database from a stranger may hold triggers and views, which would run whenever its tables are used.
    for (config, value) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ] {
        conn.set_db_config(config, value).map_err(fail)?;
    }
    conn.pragma_update(None, "temp_store", "memory").map_err(fail)?;
    Ok(conn)
}

/// Converts a size to SQLite's signed integer. Sizes above `i64::MAX` do not occur in practice and are clamped.
fn sql_size(size_bytes: u64) -> i64 {
    i64::try_from(size_bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
