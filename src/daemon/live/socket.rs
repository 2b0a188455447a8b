//! The Unix socket of the live status, for the daemon and for its clients.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::status::LiveStatus;

/// Time limit of the daemon for a write to a client, and of a client for a read from the daemon.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest accepted status in bytes. Real statuses have some kilobytes.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// Address of the socket, as a name in an open directory. The full path may exceed the 108 bytes of a socket address.
struct Address {
    dir: File,
    name: String,
    /// The real path of the socket.
    shown: PathBuf,
}

impl Address {
    fn of(database: &Path) -> io::Result<Self> {
        let mut shown = database.as_os_str().to_owned();
        shown.push(".status");
        let shown = PathBuf::from(shown);
        let parent = shown.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = shown.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        Ok(Self { dir: File::open(parent)?, name, shown })
    }

    fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.dir.as_raw_fd().to_string()).join(&self.name)
    }
}

/// Sends the live status to each client that connects, until this socket is dropped.
pub(in crate::daemon) struct StatusSocket {
    address: Address,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StatusSocket {
    /// Listens beside the database. The caller holds the database's write lock, so an existing socket comes from a process that has ended,
    /// and it is replaced.
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
                // Ignore clients that disconnect or do not read.
                let sent = stream.and_then(|mut stream| {
                    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
                    stream.write_all(serde_json::to_string(&status())?.as_bytes())
                });
                if let Err(error) = sent {
                    log::debug!("the status was not delivered: {error}");
                    // Pause, because `accept` fails at once as long as no file descriptor is free.
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
        // If the thread cannot be woken, leave it: it holds nothing but its socket.
        if let (true, Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Requests the status of the daemon that uses this database; `None` if no daemon replies.
pub fn ask(database: &Path) -> Option<LiveStatus> {
    let address = Address::of(database).ok()?;
    let stream = UnixStream::connect(address.path()).ok()?;
    stream.set_read_timeout(Some(CLIENT_TIMEOUT)).ok()?;
    let mut text = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::live::{LiveModel, LiveScan};

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
            in_flight: 3,
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
    fn clients_receive_the_status_until_the_socket_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        // The path of the database exceeds the length limit of socket addresses.
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let database = deep.join("scores.db");
        assert_eq!(ask(&database), None);
        let socket = StatusSocket::start(&database, status).unwrap();
        let received = ask(&database).unwrap();
        assert_eq!(received, status());
        let mode = std::fs::metadata(deep.join("scores.db.status")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert_eq!(ask(&database), None);
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0);
        // A socket that is left over from a killed process is replaced.
        drop(UnixListener::bind(Address::of(&database).unwrap().path()).unwrap());
        let _socket = StatusSocket::start(&database, status).unwrap();
        assert!(ask(&database).is_some());
    }
}
