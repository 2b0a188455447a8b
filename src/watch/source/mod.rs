//! Sends hints at changes in a watched directory, by inotify or by polling. A hint may be late, duplicate or missing, but
//! no loss is silent: every possibly lost hint causes a [`Hint::Rescan`].
//!
//! Every source has one thread, which is joined when the source is dropped. notify's thread never blocks on the
//! channel: if the channel is full, it requests a rescan, which the source's thread delivers when there is room.

mod error;
mod hint;
mod inotify;
mod poll;
mod sink;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::clock::SharedClock;
pub use error::{WatchError, count_directories, inotify_limit};
pub use hint::{Hint, RescanReason};
use inotify::Inotify;
pub use poll::{shared_file_system, why_poll};
use sink::Sink;

/// Time between two checks whether the directory was unmounted, mounted or replaced without an event.
const ROOT_CHECK: Duration = Duration::from_secs(2);

/// The configured way of watching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourceChoice {
    /// inotify if it works, otherwise polling.
    #[default]
    Auto,
    /// inotify; it is an error if it does not work.
    Inotify,
    /// Scans at a fixed interval; inotify is not used.
    Poll,
}

/// The way in which a source watches at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// The kernel reports changes.
    Inotify,
    /// The directory is scanned at a fixed interval.
    Poll,
    /// The directory does not exist; the source waits for it.
    Waiting,
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inotify => "inotify",
            Self::Poll => "poll",
            Self::Waiting => "waiting",
        })
    }
}

/// How a source watches at present, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// The way in which the source watches.
    pub kind: SourceKind,
    /// Why the source watches in this way, as text for people.
    pub reason: String,
}

/// Access to a source's status for code that does not own the source.
#[derive(Debug, Clone)]
pub struct StatusHandle(Arc<Mutex<SourceStatus>>);

impl StatusHandle {
    /// Returns how the source watches at present, and why.
    pub fn get(&self) -> SourceStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How a source watches its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceOptions {
    /// The configured way of watching.
    pub choice: SourceChoice,
    /// Whether subdirectories are watched too.
    pub recursive: bool,
    /// Time between two scans of a polled directory.
    pub poll_interval: Duration,
}

/// Watches one directory and sends hints at its changes. Dropping the source ends the watching.
#[derive(Debug)]
pub struct Source {
    status: Arc<Mutex<SourceStatus>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Starts to watch the directory `root` and sends hints to `hints`, which should be a bounded channel. If the directory
    /// does not exist, the source waits for it. Files that exist already cause no hints: scan the directory after the start.
    ///
    /// # Errors
    /// inotify was configured and does not work, or the thread cannot be started.
    pub fn start(
        root: &Path,
        options: SourceOptions,
        hints: Sender<Hint>,
        clock: SharedClock,
    ) -> Result<Self, WatchError> {
        let root = std::path::absolute(root).map_err(|source| WatchError::of_io(root, source))?;
        let (sink, wake_ups) = Sink::new(&root, hints);
        let initial = SourceStatus { kind: SourceKind::Waiting, reason: String::new() };
        let status = Arc::new(Mutex::new(initial));
        let (stop, stopped) = bounded(0);
        let mut watch = Watch {
            root: root.clone(),
            options,
            sink: Arc::new(sink),
            status: status.clone(),
            clock,
            identity: None,
            inotify: None,
            next_poll: None,
        };
        watch.begin()?;
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || watch.run(&wake_ups, &stopped))
            .map_err(|source| WatchError::of_io(&root, source))?;
        Ok(Self { status, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns how the source watches at present, and why.
    pub fn status(&self) -> SourceStatus {
        self.status_handle().get()
    }

    /// Returns a handle that reads the status without the source.
    pub fn status_handle(&self) -> StatusHandle {
        StatusHandle(self.status.clone())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.take();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!(
                "a thread that watched a directory panicked, which is a defect. Changes in the directory may have been noticed \
                 only by the next scan. Please report the panic message in the log"
            );
        }
    }
}

/// Device and inode of a directory. A change means that it was replaced or that another file system was mounted there.
type Identity = (u64, u64);

fn identity(root: &Path) -> Option<Identity> {
    let metadata = std::fs::metadata(root).ok()?;
    metadata.is_dir().then(|| (metadata.dev(), metadata.ino()))
}

/// The state of the source's thread.
struct Watch {
    root: PathBuf,
    options: SourceOptions,
    sink: Arc<Sink>,
    status: Arc<Mutex<SourceStatus>>,
    clock: SharedClock,
    identity: Option<Identity>,
    inotify: Option<Inotify>,
    next_poll: Option<Duration>,
}

impl Watch {
    /// Starts to watch the root in the configured way, or waits for it if it does not exist.
    fn begin(&mut self) -> Result<(), WatchError> {
        self.inotify = None;
        self.next_poll = None;
        self.identity = identity(&self.root);
        if self.identity.is_none() {
            self.set_status(SourceKind::Waiting, "the directory does not exist".to_owned());
            return Ok(());
        }
        match self.options.choice {
            SourceChoice::Poll => self.poll("set in the configuration".to_owned()),
            SourceChoice::Inotify => {
                self.inotify = Some(Inotify::start(&self.root, self.options.recursive, &self.sink)?);
                self.set_status(SourceKind::Inotify, "set in the configuration".to_owned());
            }
            SourceChoice::Auto => match poll::why_poll(&self.root) {
                Some(reason) => self.poll(reason),
                None => match Inotify::start(&self.root, self.options.recursive, &self.sink) {
                    Ok(inotify) => {
                        self.inotify = Some(inotify);
                        self.set_status(SourceKind::Inotify, "a local file system".to_owned());
                    }
                    Err(error) => self.poll(format!("inotify does not work: {error}")),
                },
            },
        }
        Ok(())
    }

    /// Polls from now on. If inotify still runs, its hints are used as well.
    fn poll(&mut self, reason: String) {
        self.next_poll = Some(self.now() + self.options.poll_interval);
        self.set_status(SourceKind::Poll, reason);
    }

    fn now(&self) -> Duration {
        self.clock.now().monotonic
    }

    /// Returns the time of the next check of the root or of the next poll, whichever is earlier.
    fn next_look(&self) -> Duration {
        let check = self.now() + ROOT_CHECK;
        self.next_poll.map_or(check, |poll| poll.min(check))
    }

    fn run(mut self, wake_ups: &Receiver<()>, stopped: &Receiver<()>) {
        loop {
            select! {
                recv(stopped) -> _ => return,
                recv(wake_ups) -> _ => {}
                recv(self.clock.timer(self.next_look())) -> _ => {}
            }
            self.check_root();
            if let Some(reason) = self.sink.take_failure() {
                log::warn!(
                    "{}: the directory is also polled from now on, because inotify may miss changes. Reason: {reason}",
                    self.root.display()
                );
                self.poll(reason);
            }
            if self.next_poll.is_some_and(|at| at <= self.now()) {
                self.next_poll = Some(self.now() + self.options.poll_interval);
                self.sink.rescan(&self.root, RescanReason::Periodic);
            }
            if !self.deliver(stopped) {
                return;
            }
        }
    }

    /// Restarts the watching if the root has appeared, disappeared or been replaced.
    fn check_root(&mut self) {
        let lost = self.sink.take_root_lost();
        if !lost && identity(&self.root) == self.identity {
            return;
        }
        if let Err(error) = self.begin() {
            log::warn!("{error}");
            self.poll(error.to_string());
        }
        self.sink.rescan(&self.root, RescanReason::RootChanged);
    }

    /// Sends the pending rescans; blocks while the channel is full. Returns false if the receiver is gone or the source stops.
    fn deliver(&mut self, stopped: &Receiver<()>) -> bool {
        let rescans = self.sink.take_rescans();
        if let (Some(inotify), false) = (&mut self.inotify, rescans.is_empty()) {
            // Watch a new directory before it is scanned, so that no file is missed in between.
            inotify.catch_up();
        }
        for (dir, reason) in rescans {
            select! {
                send(self.sink.hints(), Hint::Rescan { dir, reason }) -> sent => if sent.is_err() { return false },
                recv(stopped) -> _ => return false,
            }
        }
        true
    }

    fn set_status(&self, kind: SourceKind, reason: String) {
        let way = match kind {
            SourceKind::Inotify => "watched by inotify",
            SourceKind::Poll => "watched by polling",
            SourceKind::Waiting => "waiting for the directory",
        };
        log::info!("{}: {way} ({reason})", self.root.display());
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = SourceStatus { kind, reason };
    }
}

#[cfg(test)]
mod tests;
