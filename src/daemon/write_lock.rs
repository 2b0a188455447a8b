//! Allows one writing process per database.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::DaemonError;

/// Most bytes of a lock file, which holds a process id.
const MAX_BYTES: u64 = 20;

/// Prevents a second process from writing into a database. The lock is a kernel lock on a file beside the database, so it is released
/// whenever the process ends.
pub(super) struct WriteLock {
    _file: File,
}

impl WriteLock {
    pub(super) fn acquire(database: &Path) -> Result<Self, DaemonError> {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        let failed = |source| DaemonError::Io {
            failure: format!("{}: the lock file cannot be written", Path::new(&name).display()),
            source,
            next: "Make it and its directory writable for this user; if it is not a lock file of edge-scorer, move it away",
        };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        // A link would lead to a file of someone else, and a pipe would wait for one.
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        let mut file = options.open(&name).map_err(failed)?;
        let held_by = owner(&mut file).map_err(failed)?;
        if let Err(error) = file.try_lock() {
            if let std::fs::TryLockError::Error(source) = error {
                return Err(failed(source));
            }
            return Err(DaemonError::Locked { path: database.to_owned(), pid: held_by });
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// The process id in a lock file; empty in a new one. Refuses a file that edge-scorer has not written, so that it is not emptied.
fn owner(file: &mut File) -> io::Result<String> {
    let metadata = file.metadata()?;
    let mut text = Vec::new();
    if metadata.is_file() {
        file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    }
    let is_number = text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'\n');
    if !metadata.is_file() || metadata.nlink() > 1 || text.len() as u64 > MAX_BYTES || !is_number {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "a file that edge-scorer has not written is in the way"));
    }
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_lock_file_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (database, lock) = (dir.path().join("scores.db"), dir.path().join("scores.db.lock"));
        let precious = dir.path().join("precious");
        type Plant = fn(&Path, &Path);
        let plants: [(Plant, &str); 4] = [
            (|precious, lock| symlink(precious, lock).unwrap(), "a link"),
            (|precious, lock| std::fs::hard_link(precious, lock).unwrap(), "a second name"),
            (|_, lock| std::fs::write(lock, "not a number").unwrap(), "another file"),
            (|_, lock| std::fs::write(lock, "1".repeat(100)).unwrap(), "a long number"),
        ];
        for (plant, what) in plants {
            std::fs::write(&precious, "precious").unwrap();
            plant(&precious, &lock);
            let before = std::fs::read(&lock).unwrap();
            let refused = WriteLock::acquire(&database).map(drop).unwrap_err().to_string();
            assert!(refused.contains("scores.db.lock: the lock file cannot be written: "), "{what}: {refused}");
            assert_eq!(
                (std::fs::read(&precious).unwrap(), std::fs::read(&lock).unwrap()),
                (b"precious".to_vec(), before)
            );
            std::fs::remove_file(&lock).unwrap();
        }
        // A lock file that a killed process has left, and a new one.
        std::fs::write(&lock, "4711\n").unwrap();
        let held = WriteLock::acquire(&database).unwrap();
        let refused = WriteLock::acquire(&database).map(drop).unwrap_err();
        assert!(matches!(refused, DaemonError::Locked { pid, .. } if pid == std::process::id().to_string()));
        drop(held);
        std::fs::remove_file(&lock).unwrap();
        drop(WriteLock::acquire(&database).unwrap());
    }
}
