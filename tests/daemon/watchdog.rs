//! Tests of the watchdog with a backend that is stuck. The test stops the inference threads with ptrace; all other threads
//! continue.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use edge_testing::daemon::Daemon;
use edge_testing::{PATIENCE, Place, jpeg, skip, until};
use rustix::process::Signal;

const IMAGES: &str = "SELECT count(*) FROM image";
const FILES: &str = "SELECT count(*) FROM file";

/// Time without a ping after which the pings count as stopped. In these tests the daemon pings about once a second.
const PING_TIMEOUT: Duration = Duration::from_millis(2500);

/// A stopped thread of another process. The thread continues when this value is dropped.
struct Stopped(i32);

impl Stopped {
    /// Stops a thread. Returns an error if the kernel does not allow it.
    fn thread(tid: i32) -> std::io::Result<Self> {
        let mut status = 0;
        // SAFETY: ptrace and waitpid are given numbers and the address of a local that outlives the call.
        let results = unsafe {
            [
                libc::ptrace(libc::PTRACE_SEIZE, tid, 0, 0),
                libc::ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0),
                libc::waitpid(tid, &raw mut status, libc::__WALL).into(),
            ]
        };
        if results.contains(&-1) { Err(std::io::Error::last_os_error()) } else { Ok(Self(tid)) }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: numbers are passed, and the address of a local that outlives the call.
        unsafe {
            // A killed thread and its process remain zombies until the tracer waits for the thread.
            if libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) == -1 {
                libc::waitpid(self.0, &raw mut status, libc::__WALL);
            }
        }
    }
}

/// Stops all inference threads of the daemon.
fn stop_inference(daemon: &Daemon) -> std::io::Result<Vec<Stopped>> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
    let infers =
        |dir: &std::fs::DirEntry| std::fs::read_to_string(dir.path().join("comm")).unwrap().starts_with("infer-");
    let number = |dir: std::fs::DirEntry| dir.file_name().to_str().unwrap().parse().unwrap();
    let threads: Vec<i32> = tasks.filter(infers).map(number).collect();
    assert!(!threads.is_empty(), "no inference thread");
    threads.into_iter().map(Stopped::thread).collect()
}

/// Whether a ping is received within `patience`. Messages that were received before are discarded.
fn receives_ping(socket: &UnixDatagram, patience: Duration) -> bool {
    let mut buffer = [0; 4096];
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut buffer).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    let give_up = Instant::now() + patience;
    while let Some(left) = give_up.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        socket.set_read_timeout(Some(left)).unwrap();
        if let Ok(length) = socket.recv(&mut buffer)
            && String::from_utf8_lossy(&buffer[..length]).contains("WATCHDOG=1")
        {
            return true;
        }
    }
    false
}

#[test]
fn a_backend_that_is_stuck_ends_the_pings_and_the_next_start_loses_nothing() {
    let place = Place::new();
    let socket = UnixDatagram::bind(place.path("notify")).unwrap();
    let config = place.config("[watch]\nsettle_ms = 20\n[limits]\nstuck_timeout_s = 2\n");
    let photos = place.photos();
    let arguments = ["--config", config.to_str().unwrap(), photos.to_str().unwrap()];
    let daemon = place.start(&arguments, |command| {
        command.env("NOTIFY_SOCKET", place.path("notify")).env("WATCHDOG_USEC", "1000000");
    });
    daemon.wait_for("ready");
    place.write("first.jpg", &jpeg(1));
    place.wait_for_rows(IMAGES, &["1"]);
    assert!(receives_ping(&socket, PATIENCE), "no ping while the daemon is idle");

    let stopped = match stop_inference(&daemon) {
        Ok(stopped) => stopped,
        Err(error) => {
            return skip(
                "watchdog::a_backend_that_is_stuck_ends_the_pings_and_the_next_start_loses_nothing",
                &format!("ptrace is refused here: {error}"),
            );
        }
    };
    // An idle daemon keeps pinging: its backend has nothing to do.
    assert!(receives_ping(&socket, PATIENCE), "no ping, although the backend has nothing to do");
    place.write("second.jpg", &jpeg(2));
    until("a file in flight", || (place.live("in_work") == 1).then_some(()));
    until("the end of the pings", || (!receives_ping(&socket, PING_TIMEOUT)).then_some(()));
    assert_eq!(place.value(FILES), "1");
    // The backend continues: the daemon sends pings again.
    drop(stopped);
    place.wait_for_rows(IMAGES, &["2"]);
    assert!(receives_ping(&socket, PATIENCE), "no ping after the backend continued");

    let stopped = stop_inference(&daemon).unwrap();
    place.write("third.jpg", &jpeg(3));
    until("a file in flight", || (place.live("in_work") == 1).then_some(()));
    until("the end of the pings", || (!receives_ping(&socket, PING_TIMEOUT)).then_some(()));
    // A service manager would now kill the daemon and start it again.
    daemon.signal(Signal::KILL);
    drop(stopped);
    assert_eq!(daemon.end().0.code(), None);
    let daemon = place.daemon(&arguments);
    place.wait_for_rows(FILES, &["3"]);
    daemon.stop();
    assert_eq!(place.value(IMAGES), "3");
    place.assert_sound();
}
