//! The files in flight: those that have become candidates and are not committed yet. Each path is in flight at most once. If a file
//! changes while it is in flight, the driver looks at it again after its commit.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::work::Candidate;
use crate::identity::FileStamp;

/// The set of files in flight, shared by the driver, which adds files, and the writer, which removes them.
#[derive(Debug, Clone)]
pub(super) struct InFlight(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    announce: Sender<()>,
    rechecks: Receiver<()>,
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
        let (announce, rechecks) = bounded(1);
        Self(Arc::new(Shared { state: Mutex::default(), announce, rechecks }))
    }

    /// Puts a file in flight. Returns `false` if the file is in flight already.
    pub(super) fn insert(&self, candidate: &Candidate) -> bool {
        let mut state = self.lock();
        if state.files.contains_key(&candidate.path) {
            return false;
        }
        let flight = Flight { stamp: candidate.stamp, again: false };
        state.files.insert(candidate.path.clone(), flight);
        true
    }

    /// Returns whether a file is in flight. If the stamp `seen` differs from the candidate's, [`InFlight::take_rechecks`] returns the file
    /// later.
    pub(super) fn covers(&self, path: &Path, seen: FileStamp) -> bool {
        let mut state = self.lock();
        let Some(flight) = state.files.get_mut(path) else { return false };
        flight.again |= seen != flight.stamp;
        true
    }

    /// Handles the removal of the file or directory at `path`: files in flight there are looked at again after their commit.
    pub(super) fn mark_for_recheck(&self, path: &Path) {
        let mut state = self.lock();
        state.files.iter_mut().filter(|(file, _)| file.starts_with(path)).for_each(|(_, flight)| flight.again = true);
    }

    /// Removes a file from the files in flight. With `again`, the driver looks at the file again.
    pub(super) fn finish(&self, path: &Path, again: bool) {
        let mut state = self.lock();
        let Some((path, flight)) = state.files.remove_entry(path) else { return };
        if again || flight.again {
            state.again.push(path);
            // A full channel already holds a message, which is enough for this file too.
            let _ = self.0.announce.try_send(());
        }
    }

    /// Returns a channel that receives a message when there are files to look at again.
    pub(super) fn rechecks(&self) -> &Receiver<()> {
        &self.0.rechecks
    }

    /// Takes the files to look at again.
    pub(super) fn take_rechecks(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.lock().again)
    }

    /// Returns the number of files in flight.
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
    fn files_that_change_in_flight_are_looked_at_again() {
        let in_flight = InFlight::new();
        let file = |name: &str| Candidate { path: name.into(), stamp: stamp(10) };
        for name in ["/same", "/changed", "/d/gone", "/dropped"] {
            assert!(in_flight.insert(&file(name)));
            assert!(!in_flight.insert(&file(name)));
        }
        assert!(in_flight.covers(Path::new("/same"), stamp(10)));
        assert!(in_flight.covers(Path::new("/changed"), stamp(11)));
        assert!(!in_flight.covers(Path::new("/unknown"), stamp(10)));
        in_flight.mark_for_recheck(Path::new("/d"));
        for name in ["/same", "/changed", "/d/gone", "/unknown"] {
            in_flight.finish(Path::new(name), false);
        }
        in_flight.finish(Path::new("/dropped"), true);
        assert_eq!(in_flight.rechecks().try_iter().count(), 1);
        assert_eq!(in_flight.take_rechecks(), ["/changed", "/d/gone", "/dropped"].map(PathBuf::from));
        assert!(in_flight.take_rechecks().is_empty() && in_flight.len() == 0);
    }
}
