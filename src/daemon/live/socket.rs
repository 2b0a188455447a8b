//! The Unix socket of the live status, for the daemon and for its clients.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::status::LiveStatus;

/// Time limit for a whole answer, for the daemon that writes it and for the client that reads it.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest accepted status in bytes. Real statuses have some kilobytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

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

    /// Whether a socket has the name, not a link to one. Fails if anything else has it.
    fn is_taken(&self) -> io::Result<bool> {
        match std::fs::symlink_metadata(&self.shown) {
            Ok(metadata) if metadata.file_type().is_socket() => Ok(true),
            Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is not a socket has its name")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
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
        if address.is_taken()? {
            std::fs::remove_file(&address.shown)?;
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
                let sent = stream.and_then(|stream| write_all(&stream, serde_json::to_string(&status())?.as_bytes()));
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

/// Time until `deadline`; an error if it has passed. A timeout for each call alone would let the other side take one byte at a time for hours.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Writes all bytes within [`CLIENT_TIMEOUT`].
fn write_all(mut stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + CLIENT_TIMEOUT;
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads everything within [`CLIENT_TIMEOUT`], but at most [`MAX_ANSWER_BYTES`].
fn read_all(mut stream: &UnixStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + CLIENT_TIMEOUT;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(count) if bytes.len() + count <= MAX_ANSWER_BYTES => bytes.extend_from_slice(&buffer[..count]),
            Ok(_) => return Err(io::ErrorKind::FileTooLarge.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Requests the status of the daemon that uses this database; `None` if no daemon replies.
pub fn ask(database: &Path) -> Option<LiveStatus> {
    let address = Address::of(database).ok()?;
    address.is_taken().ok().filter(|is_taken| *is_taken)?;
    let stream = UnixStream::connect(address.path()).ok()?;
    serde_json::from_slice(&read_all(&stream).ok()?).ok()
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

    #[test]
    fn nothing_but_a_socket_is_replaced_or_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (database, name) = (dir.path().join("scores.db"), dir.path().join("scores.db.status"));
        std::fs::write(&name, "precious").unwrap();
        assert!(StatusSocket::start(&database, status).is_err());
        assert_eq!(std::fs::read(&name).unwrap(), b"precious");
        std::fs::remove_file(&name).unwrap();
        // A link to another daemon's socket.
        let other = dir.path().join("other.db");
        let _socket = StatusSocket::start(&other, status).unwrap();
        std::os::unix::fs::symlink(dir.path().join("other.db.status"), &name).unwrap();
        assert!(ask(&other).is_some() && ask(&database).is_none());
    }

    #[test]
    fn one_deadline_holds_for_a_whole_answer() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("scores.db");
        // A byte every tenth of a second never lets a read wait for long.
        let listener = UnixListener::bind(dir.path().join("scores.db.status")).unwrap();
        let drip = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let started = Instant::now();
        assert!(ask(&database).is_none());
        assert!(started.elapsed() < 2 * CLIENT_TIMEOUT, "{:?}", started.elapsed());
        drip.join().unwrap();
        // The daemon does not wait for a client that reads as slowly.
        let (client, server) = UnixStream::pair().unwrap();
        let reader = std::thread::spawn(move || {
            let mut one = [0];
            while (&client).read(&mut one).is_ok_and(|count| count > 0) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let started = Instant::now();
        assert!(write_all(&server, &vec![b' '; 64 << 20]).is_err());
        assert!(started.elapsed() < 2 * CLIENT_TIMEOUT, "{:?}", started.elapsed());
        drop(server);
        drop(reader);
    }
}
