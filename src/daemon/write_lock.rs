//! Allows one writing process per database.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::DaemonError;

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
            next: "Make it and its directory writable for this user",
        };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&name).map_err(failed)?;
        if let Err(error) = file.try_lock() {
            if let std::fs::TryLockError::Error(source) = error {
                return Err(failed(source));
            }
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(DaemonError::Locked { path: database.to_owned(), pid: pid.trim().to_owned() });
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
