//! Passes a source's hints to the channel without blocking notify's thread. If the channel is full, the sink notes a
//! rescan, which the source's own thread delivers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::hint::{Hint, RescanReason};

/// The largest number of directories with a pending rescan. With more, the whole root is scanned instead, which bounds the
/// memory.
const MAX_RESCANS: usize = 64;

/// Passes hints to the channel. Keeps rescans, the loss of the root and failures until the source's thread takes them.
#[derive(Debug)]
pub(super) struct Sink {
    root: PathBuf,
    hints: Sender<Hint>,
    wake_up: Sender<()>,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    rescans: BTreeMap<PathBuf, RescanReason>,
    root_lost: bool,
    failure: Option<String>,
}

impl Sink {
    /// Makes a sink for the hints of one root, and the channel that wakes the source's thread.
    pub fn new(root: &Path, hints: Sender<Hint>) -> (Self, Receiver<()>) {
        let (wake_up, wake_ups) = bounded(1);
        (Self { root: root.to_owned(), hints, wake_up, pending: Mutex::default() }, wake_ups)
    }

    /// Returns the path of the watched directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the channel of the hints.
    pub fn hints(&self) -> &Sender<Hint> {
        &self.hints
    }

    /// Sends a hint, or requests a rescan of the root if the channel is full.
    pub fn hint(&self, hint: Hint) {
        if let Err(TrySendError::Full(_)) = self.hints.try_send(hint) {
            self.rescan(&self.root, RescanReason::ChannelFull);
        }
    }

    /// Requests a rescan of a directory.
    pub fn rescan(&self, dir: &Path, reason: RescanReason) {
        self.note(|pending| {
            if pending.rescans.contains_key(&self.root) {
                return;
            }
            if dir == self.root || pending.rescans.len() >= MAX_RESCANS {
                pending.rescans.clear();
                pending.rescans.insert(self.root.clone(), reason);
            } else {
                pending.rescans.entry(dir.to_owned()).or_insert(reason);
            }
        });
    }

    /// Records that the watched directory itself was deleted or renamed.
    pub fn root_lost(&self) {
        self.note(|pending| pending.root_lost = true);
    }

    /// Records that inotify no longer reports every change, with the reason.
    pub fn failed(&self, reason: String) {
        self.note(|pending| pending.failure = Some(reason));
    }

    /// Returns and removes the pending rescans.
    pub fn take_rescans(&self) -> BTreeMap<PathBuf, RescanReason> {
        std::mem::take(&mut self.lock().rescans)
    }

    /// Returns whether the watched directory was lost since the last call.
    pub fn take_root_lost(&self) -> bool {
        std::mem::take(&mut self.lock().root_lost)
    }

    /// Returns the reason if inotify has failed since the last call.
    pub fn take_failure(&self) -> Option<String> {
        self.lock().failure.take()
    }

    fn note(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.lock());
        // If the channel is full, the message in it wakes the thread for this request too.
        let _ = self.wake_up.try_send(());
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_that_do_not_fit_become_one_rescan() {
        let (hints, received) = bounded(2);
        let (sink, wake_ups) = Sink::new(Path::new("/r"), hints);
        for name in ["/r/1.jpg", "/r/2.jpg", "/r/3.jpg", "/r/4.jpg"] {
            sink.hint(Hint::Changed(name.into()));
        }
        assert_eq!(received.len(), 2);
        assert_eq!(wake_ups.len(), 1);
        assert_eq!(sink.take_rescans(), BTreeMap::from([("/r".into(), RescanReason::ChannelFull)]));
        assert!(sink.take_rescans().is_empty());
    }

    #[test]
    fn many_rescans_become_one_of_the_root() {
        let (hints, _received) = bounded(1);
        let (sink, _wake_ups) = Sink::new(Path::new("/r"), hints);
        for n in 0..1000 {
            sink.rescan(&Path::new("/r").join(n.to_string()), RescanReason::NewDirectory);
        }
        assert_eq!(sink.take_rescans(), BTreeMap::from([("/r".into(), RescanReason::NewDirectory)]));
        sink.rescan(Path::new("/r/a"), RescanReason::NewDirectory);
        sink.rescan(Path::new("/r"), RescanReason::KernelOverflow);
        sink.rescan(Path::new("/r/b"), RescanReason::NewDirectory);
        assert_eq!(sink.take_rescans(), BTreeMap::from([("/r".into(), RescanReason::KernelOverflow)]));
    }
}
