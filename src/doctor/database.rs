//! The database: free space, file system, schema, integrity and recorded failures.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::daemon::ask_status;
use crate::store::{Store, StoreError};
use crate::watch::shared_file_system;

const AREA: &str = "database";
const MIB: u64 = 1 << 20;

/// Free space in bytes below which the next commits may fail.
const MIN_FREE_BYTES: u64 = 64 * MIB;
/// Free space in bytes below which the report advises the user to free some.
const LOW_FREE_BYTES: u64 = 1024 * MIB;
/// Size in bytes from which the write-ahead log is too large. Each checkpoint truncates the log, so a larger log shows that checkpoints
/// fail.
const LARGE_WAL_BYTES: u64 = 256 * MIB;

pub(super) fn findings(path: &Path) -> Vec<Finding> {
    let mut findings = vec![directory(path)];
    if path.exists() {
        findings.extend(contents(path));
    } else {
        findings.push(Finding::fine(AREA, "contents", "no database yet; `run` or `scan` creates it"));
    }
    findings.extend(replaced_databases(path));
    if let Some(live) = ask_status(path) {
        findings.push(Finding::fine(AREA, "daemon", format!("running as process {}: {live}", live.pid)));
    }
    findings
}

/// Checks the database's directory: kind of file system, write access and free space.
fn directory(path: &Path) -> Finding {
    let subject = path.display().to_string();
    let dir = path.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if let Ok(Some(name)) = shared_file_system(dir) {
        let next = "Put the database on a local disk with [store] path. SQLite's locks do not work on this file system";
        return Finding::problem(AREA, subject, format!("the database is on {name}"), next);
    }
    let writable = rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok();
    let space = match rustix::fs::statvfs(dir) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => return Finding::note(AREA, subject, error.to_string(), "Check the disk and the mount"),
    };
    let found = format!("{} MiB free", space / MIB);
    if space < MIN_FREE_BYTES {
        Finding::problem(AREA, subject, found, "Free some space: results stay in memory while they cannot be committed")
    } else if !writable {
        let next =
            "Run the doctor as the daemon's user, who needs write access: `sudo -u edge-scorer edge-scorer doctor`";
        Finding::note(AREA, subject, format!("{found}; not writable"), next)
    } else if space < LOW_FREE_BYTES {
        Finding::note(AREA, subject, found, "Free some space before the disk is full")
    } else {
        Finding::fine(AREA, subject, found)
    }
}

fn contents(path: &Path) -> Vec<Finding> {
    let refused = |error: &StoreError| Finding::problem(AREA, "contents", error.to_string(), advice(error));
    let store = match Store::open_read_only(path) {
        Ok(store) => store,
        Err(error) => return vec![refused(&error)],
    };
    let mut findings = Vec::new();
    match store.quick_check() {
        Ok(answer) if answer == "ok" => findings.push(Finding::fine(AREA, "integrity", "SQLite finds no damage")),
        Ok(answer) => findings.push(Finding::problem(AREA, "integrity", answer, DAMAGE_ADVICE)),
        Err(error) => return vec![refused(&error)],
    }
    match store.counts() {
        Err(error) => findings.push(refused(&error)),
        Ok(counts) => {
            let found = format!("{} images, {} scores under {} tags", counts.images, counts.scores, counts.tags);
            findings.push(Finding::fine(AREA, "contents", found));
            if counts.wal_bytes > LARGE_WAL_BYTES {
                let found = format!("the write-ahead log has grown to {} MiB", counts.wal_bytes / MIB);
                let next = "The log cannot be truncated while a program keeps a read transaction open. End that program, or restart the daemon";
                findings.push(Finding::note(AREA, "log", found, next));
            }
            if counts.quarantined > 0 {
                let found =
                    format!("{} files are quarantined: they failed too often to be retried", counts.quarantined);
                let next = "`edge-scorer failures` lists them; `edge-scorer failures --retry` retries them";
                findings.push(Finding::note(AREA, "failures", found, next));
            }
        }
    }
    findings
}

const DAMAGE_ADVICE: &str =
    "Restart the daemon: it keeps the damaged file, creates a new database and scores all images that are there again";

fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::NeedsMigration { .. } => {
            "Start the daemon, or run `edge-scorer migrate`. Copy the file first if you may go back to the older version"
        }
        StoreError::TooNew { .. } => "Install the version of edge-scorer that wrote the database, or a newer one",
        error if error.is_damage() => DAMAGE_ADVICE,
        _ => "Check the permissions of the file and of its directory, and the disk",
    }
}

/// Looks for damaged databases that the daemon has set aside. Returns none if there are none.
fn replaced_databases(path: &Path) -> Option<Finding> {
    let prefix = format!("{}.damaged-", path.file_name()?.to_string_lossy());
    let entries = std::fs::read_dir(path.parent()?).ok()?.flatten();
    let is_database = |name: &str| name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm");
    let mut replaced: Vec<PathBuf> =
        entries.filter(|e| is_database(&e.file_name().to_string_lossy())).map(|e| e.path()).collect();
    replaced.sort();
    let last = replaced.last()?;
    let found = format!(
        "number of damaged databases that were set aside: {}; the latest is {}",
        replaced.len(),
        last.display()
    );
    let next = "The disk may be worn out, or may not flush its cache: replace the disk. Delete the damaged databases when you no longer need them";
    Some(Finding::note(AREA, "damage", found, next))
}
