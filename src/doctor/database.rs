//! The database: room, file system, schema, soundness, and what it says of trouble.

use std::path::{Path, PathBuf};

use super::Finding;
use crate::daemon::ask_status;
use crate::store::{Store, StoreError};
use crate::watch::shared_file_system;

const AREA: &str = "database";
const MIB: u64 = 1 << 20;

/// Below this the next commits may fail,
const NO_ROOM: u64 = 64 * MIB;
/// and below this someone should look.
const LITTLE_ROOM: u64 = 1024 * MIB;
/// A write-ahead log is cut back at every checkpoint; one of this size has not been for long.
const LARGE_LOG: u64 = 256 * MIB;

pub(super) fn findings(path: &Path) -> Vec<Finding> {
    let mut findings = vec![place(path)];
    if path.exists() {
        findings.extend(contents(path));
    } else {
        findings.push(Finding::fine(AREA, "contents", "there is none yet; `run` or `scan` makes it"));
    }
    findings.extend(set_aside(path));
    if let Some(live) = ask_status(path) {
        findings.push(Finding::fine(AREA, "daemon", format!("process {} is at work: {live}", live.pid)));
    }
    findings
}

/// The directory that it is, or will be, in.
fn place(path: &Path) -> Finding {
    let subject = path.display().to_string();
    let dir = path.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if let Ok(Some(name)) = shared_file_system(dir) {
        let next =
            "Put the database on a local disk with [store] path: SQLite's locks do not hold on such file systems";
        return Finding::problem(AREA, subject, format!("it is on {name}"), next);
    }
    let writable = rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok();
    let room = rustix::fs::statvfs(dir).map(|found| found.f_bavail.saturating_mul(found.f_frsize));
    let room = match room {
        Ok(room) => room,
        Err(error) => return Finding::note(AREA, subject, error.to_string(), "Look at the disk"),
    };
    let found = format!("{} MiB of room", room / MIB);
    if room < NO_ROOM {
        Finding::problem(AREA, subject, found, "Make room: results wait in memory while they cannot be committed")
    } else if !writable {
        let next = "This user may only read here. Run the doctor as the daemon's user: `sudo -u edge-scorer edge-scorer doctor`";
        Finding::note(AREA, subject, format!("{found}; not writable"), next)
    } else if room < LITTLE_ROOM {
        Finding::note(AREA, subject, found, "Make room before it is used up")
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
        Ok(answer) if answer == "ok" => findings.push(Finding::fine(AREA, "soundness", "SQLite finds no damage")),
        Ok(answer) => findings.push(Finding::problem(AREA, "soundness", answer, DAMAGED)),
        Err(error) => return vec![refused(&error)],
    }
    match store.counts() {
        Err(error) => findings.push(refused(&error)),
        Ok(counts) => {
            let found = format!("{} images, {} scores under {} tags", counts.images, counts.scores, counts.tags);
            findings.push(Finding::fine(AREA, "contents", found));
            if counts.wal_bytes > LARGE_LOG {
                let found = format!("its log has grown to {} MiB", counts.wal_bytes / MIB);
                let next =
                    "A program that reads without end keeps it from being cut back: end that, or restart the daemon";
                findings.push(Finding::note(AREA, "log", found, next));
            }
            if counts.quarantined > 0 {
                let found = format!("{} files are not tried any more", counts.quarantined);
                findings.push(Finding::note(
                    AREA,
                    "failures",
                    found,
                    "`edge-scorer failures` lists them, `--retry` tries them again",
                ));
            }
        }
    }
    findings
}

const DAMAGED: &str =
    "Restart the daemon: it keeps the damaged file and begins a new one, and scores every picture that is there again";

fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::NeedsMigration { .. } => {
            "Start the daemon, or run `edge-scorer migrate`; make a copy first if you may go back"
        }
        StoreError::TooNew { .. } => "Install the edge-scorer that wrote it, or a later one",
        error if error.is_damage() => DAMAGED,
        _ => "Look at the file's permissions, and at the disk",
    }
}

/// Damaged databases that made room for new ones.
fn set_aside(path: &Path) -> Option<Finding> {
    let prefix = format!("{}.damaged-", path.file_name()?.to_string_lossy());
    let entries = std::fs::read_dir(path.parent()?).ok()?.flatten();
    let is_database = |name: &str| name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm");
    let mut aside: Vec<PathBuf> =
        entries.filter(|e| is_database(&e.file_name().to_string_lossy())).map(|e| e.path()).collect();
    aside.sort();
    let last = aside.last()?;
    let found = format!("{} damaged databases were set aside, the last as {}", aside.len(), last.display());
    let next = "A disk that damages files is worn out or lies about flushing: replace it. Delete the files when nothing in them is missed";
    Some(Finding::note(AREA, "damage", found, next))
}
