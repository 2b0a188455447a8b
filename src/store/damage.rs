//! Renaming of a damaged database, so that a new one can be created. The damaged files are kept for recovery.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::OpenFlags;

use super::error::{Result, StoreError};
use super::{Store, absolute, connect};

/// Checks a database and, if it is damaged, renames it together with its `-wal` and `-shm` files.
///
/// Returns the new path: the old one with `.damaged-` and the time appended. Returns none and renames nothing if SQLite finds no
/// damage. No other connection may have the database open.
///
/// # Errors
/// Fails if a file cannot be renamed.
pub fn set_aside_if_damaged(path: &Path, now: Timestamp) -> Result<Option<PathBuf>> {
    let path = &absolute(path)?;
    if is_undamaged(path) {
        return Ok(None);
    }
    let time = now.strftime("%Y%m%dT%H%M%S%3fZ");
    let aside = with_suffix(path, &format!(".damaged-{time}"));
    // Rename the log first: SQLite would apply a remaining log to the new database.
    for suffix in ["-wal", "-shm", ""] {
        let (from, to) = (with_suffix(path, suffix), with_suffix(&aside, suffix));
        match std::fs::rename(&from, &to) {
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::Unreachable { path: from, source }),
            Ok(()) => {}
        }
    }
    // Best effort: a power cut before the sync can undo the renames; the damaged database is then renamed again.
    if let Some(dir) = path.parent() {
        let _ = File::open(dir).and_then(|dir| dir.sync_all());
    }
    Ok(Some(aside))
}

impl Store {
    /// Runs SQLite's quick check of every page. Returns `ok` or the first problem found.
    pub fn quick_check(&self) -> Result<String> {
        self.row("PRAGMA quick_check(1)", [], "check the database for damage", |row| row.get(0))
    }
}

fn is_undamaged(path: &Path) -> bool {
    let check = || -> Result<bool> {
        let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let answer: rusqlite::Result<String> = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        let answer = answer.map_err(|source| StoreError::from_sqlite(path, "check the database for damage", source))?;
        Ok(answer == "ok")
    };
    // A database that cannot be checked is treated as undamaged.
    check().unwrap_or_else(|error| !error.is_damage())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
