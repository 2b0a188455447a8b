//! A damaged database makes room for a new one and is kept: whoever knows more may still get something out of it.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::OpenFlags;

use super::error::{Result, StoreError};
use super::{Store, absolute, connect};

/// Moves a database away, with what SQLite keeps beside it, if it is damaged indeed; nothing else may have it open. Returns its new
/// path: the old one with `.damaged-` and the time added. None, and nothing is moved, where SQLite finds it in order.
///
/// # Errors
/// A file that cannot be moved.
pub fn set_aside_if_damaged(path: &Path, now: Timestamp) -> Result<Option<PathBuf>> {
    let path = &absolute(path)?;
    if is_sound(path) {
        return Ok(None);
    }
    let time = now.strftime("%Y%m%dT%H%M%S%3fZ");
    let aside = with_suffix(path, &format!(".damaged-{time}"));
    // The log goes first: left behind, it would be taken for that of the new database.
    for suffix in ["-wal", "-shm", ""] {
        let (from, to) = (with_suffix(path, suffix), with_suffix(&aside, suffix));
        match std::fs::rename(&from, &to) {
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::Unreachable { path: from, source }),
            Ok(()) => {}
        }
    }
    // Best effort: without it a power cut may bring the damaged one back, to be set aside again.
    if let Some(dir) = path.parent() {
        let _ = File::open(dir).and_then(|dir| dir.sync_all());
    }
    Ok(Some(aside))
}

impl Store {
    /// What SQLite says when it looks through every page: `ok`, or the first damage.
    pub fn quick_check(&self) -> Result<String> {
        self.row("PRAGMA quick_check(1)", [], "check it", |row| row.get(0))
    }
}

fn is_sound(path: &Path) -> bool {
    let check = || -> Result<bool> {
        let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let answer: rusqlite::Result<String> = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        let answer = answer.map_err(|source| StoreError::from_sqlite(path, "check it", source))?;
        Ok(answer == "ok")
    };
    // Where it cannot be checked at all nothing is known against it.
    check().unwrap_or_else(|error| !error.is_damage())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
