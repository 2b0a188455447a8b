//! Typed errors of the database. Callers decide about retries; [`StoreError::is_transient`] reports whether waiting can help.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Result of a fallible operation of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Reasons why the database cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A reader asked for a database that does not exist.
    #[error("{}: there is no database here. Run `edge-scorer scan DIR` to create one, or name another file with --db", path.display())]
    NotFound {
        /// Path of the database.
        path: PathBuf,
    },
    /// The file or its directory cannot be created.
    #[error("{}: cannot create the database: {source}. Make its directory writable for this user, or name another file with --db", path.display())]
    Create {
        /// Path of the database.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file exists but cannot be opened.
    #[error("{}: cannot open the database: {source}. Check the permissions of the file and of its directory, or name another file with --db", path.display())]
    Open {
        /// Path of the database.
        path: PathBuf,
        /// SQLite's error on opening the file.
        source: rusqlite::Error,
    },
    /// The operating system cannot determine whether the file exists.
    #[error("{}: cannot reach the database: {source}. Check the permissions of its directory and the mount", path.display())]
    Unreachable {
        /// Path of the database.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file is not an SQLite database.
    #[error("{}: not an SQLite database, so it is not changed. Move it away, or name another file with --db", path.display())]
    NotADatabase {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file is another program's database.
    #[error("{}: the database of another program (application_id {application_id:#010x}), so it is not changed. Name another file with --db", path.display())]
    Foreign {
        /// Path of the file.
        path: PathBuf,
        /// Application id in its header; 0 if the other program sets none.
        application_id: i32,
    },
    /// The path of the database is a link.
    #[error("{}: a link, so it is not followed. Name the database itself with --db or under [store] path in the configuration", path.display())]
    Link {
        /// Path of the link.
        path: PathBuf,
    },
    /// The database's tables are not those that this program makes.
    #[error("{}: {object} is not as edge-scorer makes it, so the database is not used. If you have changed the schema, undo it; otherwise move the database away, and a new one is created", path.display())]
    ForeignSchema {
        /// Path of the database.
        path: PathBuf,
        /// The table, index, trigger or view that is missing, changed or added.
        object: String,
    },
    /// A newer edge-scorer wrote the database.
    #[error("{}: the database has schema version {found}, but this program knows only versions up to {known}. Install the version of edge-scorer that wrote the database, or a newer one", path.display())]
    TooNew {
        /// Path of the database.
        path: PathBuf,
        /// Schema version of the database.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// The database has an older schema and was opened for reading only.
    #[error("{}: the database has schema version {found}, but this program reads version {known}. Run `edge-scorer migrate` first", path.display())]
    NeedsMigration {
        /// Path of the database.
        path: PathBuf,
        /// Schema version of the database.
        found: u32,
        /// The version that this program reads.
        known: u32,
    },
    /// A migration step failed; the database is unchanged.
    #[error("{}: cannot migrate the database to schema version {version}: {reason}. The database is unchanged. Keep a copy of the file and please report this message", path.display())]
    Migrate {
        /// Path of the database.
        path: PathBuf,
        /// The schema version that the step creates.
        version: u32,
        /// The error that the migration step met.
        reason: String,
    },
    /// Another process has locked the database.
    #[error("{}: cannot {doing}: the database is locked by another process. Stop the other edge-scorer or sqlite3, or wait", path.display())]
    Busy {
        /// Path of the database.
        path: PathBuf,
        /// The operation that failed, as an infinitive such as `record the scores`.
        doing: &'static str,
    },
    /// The disk is full.
    #[error("{}: cannot {doing}: no space is left on the disk. Free some space, or name a database on another disk with --db", path.display())]
    Full {
        /// Path of the database.
        path: PathBuf,
        /// The operation that failed, as an infinitive such as `record the scores`.
        doing: &'static str,
    },
    /// The file or its file system is read-only.
    #[error("{}: cannot {doing}: the database is read-only. Make the file and its directory writable for this user, or name another file with --db", path.display())]
    ReadOnly {
        /// Path of the database.
        path: PathBuf,
        /// The operation that failed, as an infinitive such as `record the scores`.
        doing: &'static str,
    },
    /// The file's content is damaged.
    #[error("{}: cannot {doing}: the database is damaged ({source}). Move it away and scan again, or restore a copy", path.display())]
    Corrupt {
        /// Path of the database.
        path: PathBuf,
        /// The operation that failed, as an infinitive such as `record the scores`.
        doing: &'static str,
        /// SQLite's description of the damage.
        source: rusqlite::Error,
    },
    /// The disk failed to read or write.
    #[error("{}: cannot {doing}: the disk failed ({source}). Check the disk and the mount", path.display())]
    Disk {
        /// Path of the database.
        path: PathBuf,
        /// The operation that failed, as an infinitive such as `record the scores`.
        doing: &'static str,
        /// SQLite's error on reading or writing.
        source: rusqlite::Error,
    },
    /// SQLite reported another error.
    #[error("{}: cannot {doing}: {source}. Check the database with `sqlite3 FILE 'PRAGMA integrity_check'`", path.display())]
    Query {
        /// Path of the database.
        path: PathBuf,
        /// The operation that failed, as an infinitive such as `record the scores`.
        doing: &'static str,
        /// SQLite's error, which has no variant of its own here.
        source: rusqlite::Error,
    },
    /// SQLite rolled back the whole transaction after an earlier error, such as a full disk.
    #[error("{}: cannot {doing}: an earlier error rolled back the transaction. Try again", path.display())]
    Undone {
        /// Path of the database.
        path: PathBuf,
        /// The operation that failed, as an infinitive such as `record the scores`.
        doing: &'static str,
    },
    /// A score, similarity or percentile is NaN or infinite.
    #[error("the {quantity} is {value}, which cannot be recorded. Test the model with `edge-scorer config check`")]
    NotFinite {
        /// The kind of number, such as `score`.
        quantity: &'static str,
        /// Its value: NaN or infinity.
        value: f32,
    },
}

impl StoreError {
    /// Returns true if the same operation can succeed later without a change of the configuration: after a lock, a full disk, a
    /// disk error or a transaction that was rolled back.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Full { .. } | Self::Disk { .. } | Self::Undone { .. })
    }

    /// Returns true if the content of the file is damaged.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }

    /// Converts an SQLite error to a typed error. `doing` names the operation on the database at `path`.
    pub(super) fn from_sqlite(path: &Path, doing: &'static str, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path, doing },
            Some(ErrorCode::DiskFull) => Self::Full { path, doing },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path, doing },
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, doing, source },
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::SystemIoFailure) => Self::Disk { path, doing, source },
            Some(ErrorCode::CannotOpen) => Self::Open { path, source },
            _ => Self::Query { path, doing, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn of(code: i32) -> StoreError {
        let source = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        StoreError::from_sqlite(Path::new("/s.db"), "record the scores", source)
    }

    #[test]
    fn messages_say_what_where_and_what_to_do() {
        assert_eq!(
            StoreError::NotFound { path: "/s.db".into() }.to_string(),
            "/s.db: there is no database here. Run `edge-scorer scan DIR` to create one, or name another file with --db"
        );
        assert_eq!(
            of(ffi::SQLITE_FULL).to_string(),
            "/s.db: cannot record the scores: no space is left on the disk. Free some space, or name a database on another disk with --db"
        );
        assert_eq!(
            of(ffi::SQLITE_BUSY).to_string(),
            "/s.db: cannot record the scores: the database is locked by another process. Stop the other edge-scorer or \
             sqlite3, or wait"
        );
        assert_eq!(
            StoreError::Foreign { path: "/s.db".into(), application_id: 0x1234 }.to_string(),
            "/s.db: the database of another program (application_id 0x00001234), so it is not changed. Name another file \
             with --db"
        );
        assert_eq!(
            StoreError::TooNew { path: "/s.db".into(), found: 9, known: 1 }.to_string(),
            "/s.db: the database has schema version 9, but this program knows only versions up to 1. Install the \
             version of edge-scorer that wrote the database, or a newer one"
        );
    }

    #[test]
    fn only_waiting_errors_are_transient() {
        for code in [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_FULL, ffi::SQLITE_IOERR] {
            assert!(of(code).is_transient(), "{code}");
        }
        for code in [ffi::SQLITE_READONLY, ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_CONSTRAINT] {
            assert!(!of(code).is_transient(), "{code}");
        }
        assert!(matches!(of(ffi::SQLITE_READONLY), StoreError::ReadOnly { .. }));
        assert!(matches!(of(ffi::SQLITE_CORRUPT), StoreError::Corrupt { .. }));
        assert!(matches!(of(ffi::SQLITE_NOTADB), StoreError::NotADatabase { .. }));
        assert!(matches!(of(ffi::SQLITE_CANTOPEN), StoreError::Open { .. }));
    }
}
