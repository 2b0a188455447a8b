//! The socket.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{LiveStatus, PATIENCE};

/// A socket's address has 108 bytes at most, so it goes through an open directory.
pub(super) struct Address {
    dir: File,
    name: String,
    /// The socket as people would name it.
    shown: PathBuf,
}

impl Address {
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        let mut shown = database.as_os_str().to_owned();
        shown.push(".status");
        let shown = PathBuf::from(shown);
        let parent = shown.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = shown.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        Ok(Self { dir: File::open(parent)?, name, shown })
    }

    pub(super) fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.dir.as_raw_fd().to_string()).join(&self.name)
    }
}

/// Answers until it is dropped.
pub(in crate::daemon) struct StatusSocket {
    address: Address,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StatusSocket {
    /// Listens beside the database, whose write lock the caller holds: a socket that is there was left by a dead process.
    pub(in crate::daemon) fn start(
        database: &Path,
        status: impl Fn() -> LiveStatus + Send + 'static,
    ) -> io::Result<Self> {
        let address = Address::of(database)?;
        match std::fs::remove_file(&address.shown) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(address.path())?;
        std::fs::set_permissions(&address.shown, Permissions::from_mode(0o600))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("status".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // Who hangs up, or does not read, is not told.
                let told = stream.and_then(|mut stream| {
                    stream.set_write_timeout(Some(PATIENCE))?;
                    stream.write_all(serde_json::to_string(&status())?.as_bytes())
                });
                if let Err(error) = told {
                    log::debug!("the status was not delivered: {error}");
                    // Without descriptors `accept` fails at once, again and again.
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let woken = UnixStream::connect(self.address.path()).is_ok();
        let _ = std::fs::remove_file(&self.address.shown);
        // A thread that cannot be woken holds nothing but its socket.
        if let (true, Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::live::{LiveModel, LiveScan, ask};

    fn status() -> LiveStatus {
        LiveStatus {
            pid: 1,
            version: "1".to_owned(),
            started_at: "1970-01-01T00:00:00.000Z".to_owned(),
            model: LiveModel {
                name: "m".to_owned(),
                digest: "d".to_owned(),
                device: "cpu".to_owned(),
                precision: "f32".to_owned(),
                device_reason: "asked for".to_owned(),
            },
            in_work: 3,
            settling: 0,
            scan: Some(LiveScan { seen: 1, total: 2 }),
            per_minute: 1.5,
            left_s: None,
            scored: 0,
            linked: 0,
            failed: 0,
            backfilled: 0,
            last_image: None,
            sources: Vec::new(),
            memory_bytes: None,
        }
    }

    #[test]
    fn whoever_asks_is_told_and_afterwards_nobody_is_there() {
        let dir = tempfile::tempdir().unwrap();
        // Longer than an address of a socket may be.
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let database = deep.join("scores.db");
        assert_eq!(ask(&database), None);
        let socket = StatusSocket::start(&database, status).unwrap();
        let told = ask(&database).unwrap();
        assert_eq!(told, status());
        let mode = std::fs::metadata(deep.join("scores.db.status")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert_eq!(ask(&database), None);
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0);
        // What a killed process has left is taken over.
        drop(UnixListener::bind(Address::of(&database).unwrap().path()).unwrap());
        let _socket = StatusSocket::start(&database, status).unwrap();
        assert!(ask(&database).is_some());
    }
}
