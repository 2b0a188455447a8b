//! The files between the intake and their commit. Each is there once; what happens to it meanwhile is not forgotten: the
//! intake looks at it again when its work is done.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::work::Candidate;
use crate::identity::FileStamp;

/// Shared by the intake, which fills it, and the writer, which empties it.
#[derive(Debug, Clone)]
pub(super) struct InFlight(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    nudge: Sender<()>,
    nudged: Receiver<()>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<PathBuf, Flight>,
    again: Vec<PathBuf>,
}

#[derive(Debug)]
struct Flight {
    stamp: FileStamp,
    again: bool,
}

impl InFlight {
    pub(super) fn new() -> Self {
        let (nudge, nudged) = bounded(1);
        Self(Arc::new(Shared { state: Mutex::default(), nudge, nudged }))
    }

    /// Takes a file in; `false` if it is in work already.
    pub(super) fn insert(&self, candidate: &Candidate) -> bool {
        let mut state = self.lock();
        if state.files.contains_key(&candidate.path) {
            return false;
        }
        let flight = Flight { stamp: candidate.stamp, again: false };
        state.files.insert(candidate.path.clone(), flight);
        true
    }

    /// Whether a file is in work. Where it does not look as it did when its work began, it comes out of
    /// [`InFlight::take_again`] afterwards.
    pub(super) fn covers(&self, path: &Path, seen: FileStamp) -> bool {
        let mut state = self.lock();
        let Some(flight) = state.files.get_mut(path) else { return false };
        flight.again |= seen != flight.stamp;
        true
    }

    /// Has a file, or everything in a directory, looked at again when its work is done: it went away.
    pub(super) fn look_again_at(&self, path: &Path) {
        let mut state = self.lock();
        state.files.iter_mut().filter(|(file, _)| file.starts_with(path)).for_each(|(_, flight)| flight.again = true);
    }

    /// Ends the work on a file; with `again` it is to be looked at anew.
    pub(super) fn finish(&self, path: &Path, again: bool) {
        let mut state = self.lock();
        let Some((path, flight)) = state.files.remove_entry(path) else { return };
        if again || flight.again {
            state.again.push(path);
            // A nudge that waits already serves for this file too.
            let _ = self.0.nudge.try_send(());
        }
    }

    /// Receives something when there are files to be looked at again.
    pub(super) fn nudged(&self) -> &Receiver<()> {
        &self.0.nudged
    }

    /// The files to be looked at again, each once.
    pub(super) fn take_again(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.lock().again)
    }

    /// Number of files in work.
    pub(super) fn len(&self) -> usize {
        self.lock().files.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size_bytes: u64) -> FileStamp {
        FileStamp { size_bytes, mtime_ns: 7, ctime_ns: 7, inode: 1 }
    }

    #[test]
    fn what_changes_while_it_is_in_work_is_looked_at_again() {
        let in_flight = InFlight::new();
        let file = |name: &str| Candidate { path: name.into(), stamp: stamp(10) };
        for name in ["/same", "/changed", "/d/gone", "/dropped"] {
            assert!(in_flight.insert(&file(name)));
            assert!(!in_flight.insert(&file(name)));
        }
        assert!(in_flight.covers(Path::new("/same"), stamp(10)));
        assert!(in_flight.covers(Path::new("/changed"), stamp(11)));
        assert!(!in_flight.covers(Path::new("/unknown"), stamp(10)));
        in_flight.look_again_at(Path::new("/d"));
        for name in ["/same", "/changed", "/d/gone", "/unknown"] {
            in_flight.finish(Path::new(name), false);
        }
        in_flight.finish(Path::new("/dropped"), true);
        assert_eq!(in_flight.nudged().try_iter().count(), 1);
        assert_eq!(in_flight.take_again(), ["/changed", "/d/gone", "/dropped"].map(PathBuf::from));
        assert!(in_flight.take_again().is_empty() && in_flight.len() == 0);
    }
}
