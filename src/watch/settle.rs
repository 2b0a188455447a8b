//! Decides when a file has been written completely: its size and modification time have not changed for a while. Each
//! file has its own deadline, so a busy file delays no other. The settler never blocks: the caller passes the time and
//! reads the disk.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::identity::FileStamp;

/// How a file was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// A hint arrived: the file may just have changed.
    Hint,
    /// A scan found the file, which may be unchanged.
    Scan,
}

/// The settler's reply to a sighting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// The file is complete: it has not changed for long enough.
    Ready,
    /// The file waits. [`Settler::due`] returns it when it is complete.
    Waiting,
    /// Too many files wait already. [`Settler::take_refused`] reports when to scan for the file again.
    Refused,
}

/// A file that has been written completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Path of the file.
    pub path: PathBuf,
    /// Stamp of the file when it settled.
    pub stamp: FileStamp,
}

#[derive(Debug)]
struct Waiting {
    stamp: FileStamp,
    deadline: Duration,
}

/// The files that may still be written to, with a deadline for each.
#[derive(Debug)]
pub struct Settler {
    settle: Duration,
    capacity: usize,
    files: HashMap<Arc<Path>, Waiting>,
    deadlines: BTreeSet<(Duration, Arc<Path>)>,
    refused: bool,
}

impl Settler {
    /// Makes a settler. A file settles when it has not changed for `settle`; at most `capacity` files wait at a time.
    pub fn new(settle: Duration, capacity: usize) -> Self {
        Self { settle, capacity, files: HashMap::new(), deadlines: BTreeSet::new(), refused: false }
    }

    /// Records a sighting of a file.
    ///
    /// A file that a scan finds is ready at once if it is not empty and its modification time, by the wall clock, is at
    /// least the settle time ago. An empty file waits, because its writer may just have created it. A hinted file waits in
    /// any case, because a copy may carry the modification time of its original.
    pub fn observe(&mut self, path: &Path, stamp: FileStamp, sighting: Sighting, now: Now) -> Observed {
        match self.files.get(path) {
            Some(waiting) if sighting == Sighting::Scan && waiting.stamp == stamp => return Observed::Waiting,
            Some(_) => {}
            None if sighting == Sighting::Scan && self.is_old(stamp, now) => return Observed::Ready,
            None if self.files.len() >= self.capacity => {
                self.refused = true;
                return Observed::Refused;
            }
            None => {}
        }
        self.wait(path.into(), stamp, now);
        Observed::Waiting
    }

    /// Removes a file that no longer exists.
    pub fn remove(&mut self, path: &Path) {
        if let Some((path, waiting)) = self.files.remove_entry(path) {
            self.deadlines.remove(&(waiting.deadline, path));
        }
    }

    /// Removes and returns at most `limit` files whose deadline has passed, earliest deadline first. `stat` returns a
    /// file's current stamp, or `None` if the file is gone. A file whose stamp has changed without a hint waits again.
    pub fn due(&mut self, now: Now, limit: usize, mut stat: impl FnMut(&Path) -> Option<FileStamp>) -> Vec<Settled> {
        let mut settled = Vec::new();
        while settled.len() < limit {
            let Some((deadline, path)) = self.deadlines.first().cloned() else { break };
            if deadline > now.monotonic {
                break;
            }
            self.deadlines.remove(&(deadline, path.clone()));
            let before = self.files.remove(&path).map(|waiting| waiting.stamp);
            match stat(&path) {
                Some(stamp) if Some(stamp) == before => settled.push(Settled { path: path.to_path_buf(), stamp }),
                Some(stamp) => self.wait(path, stamp, now),
                None => {}
            }
        }
        settled
    }

    /// Returns the earliest deadline as monotonic time; `None` if no file waits.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Returns true if files were refused and at most half of the capacity is in use now. The caller must then scan for the
    /// refused files, because the next call returns false.
    pub fn take_refused(&mut self) -> bool {
        let scan_now = self.refused && self.files.len() <= self.capacity / 2;
        self.refused &= !scan_now;
        scan_now
    }

    /// Returns the waiting files, in no particular order.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.keys().map(AsRef::as_ref)
    }

    fn is_old(&self, stamp: FileStamp, now: Now) -> bool {
        let age_ns = now.wall.as_nanosecond() - i128::from(stamp.mtime_ns);
        stamp.size_bytes > 0 && age_ns >= i128::try_from(self.settle.as_nanos()).unwrap_or(i128::MAX)
    }

    fn wait(&mut self, path: Arc<Path>, stamp: FileStamp, now: Now) {
        let deadline = now.monotonic.saturating_add(self.settle);
        if let Some(old) = self.files.insert(path.clone(), Waiting { stamp, deadline }) {
            self.deadlines.remove(&(old.deadline, path.clone()));
        }
        self.deadlines.insert((deadline, path));
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    const SETTLE: Duration = Duration::from_millis(500);

    /// A simulated disk with one stamp per name, a settler and a clock.
    struct World {
        clock: ManualClock,
        disk: HashMap<PathBuf, FileStamp>,
        settler: Settler,
    }

    impl World {
        fn new(capacity: usize) -> Self {
            let clock = ManualClock::new(Timestamp::constant(1_767_323_045, 0));
            Self { clock, disk: HashMap::new(), settler: Settler::new(SETTLE, capacity) }
        }

        fn pass(&self, millis: u64) {
            self.clock.advance(Duration::from_millis(millis));
        }

        /// Writes a file to the simulated disk without telling the settler.
        fn write(&mut self, path: &str, size_bytes: u64) {
            let mtime_ns = i64::try_from(self.clock.now().wall.as_nanosecond()).unwrap();
            let inode = self.disk.get(Path::new(path)).map_or(self.disk.len() as u64, |stamp| stamp.inode);
            self.disk.insert(path.into(), FileStamp { size_bytes, mtime_ns, ctime_ns: mtime_ns, inode });
        }

        fn see(&mut self, path: &str, sighting: Sighting) -> Observed {
            let stamp = self.disk[Path::new(path)];
            self.settler.observe(Path::new(path), stamp, sighting, self.clock.now())
        }

        fn hint(&mut self, path: &str, size_bytes: u64) {
            self.write(path, size_bytes);
            assert_eq!(self.see(path, Sighting::Hint), Observed::Waiting);
        }

        fn due(&mut self) -> Vec<String> {
            let due = self.settler.due(self.clock.now(), 1000, |path| self.disk.get(path).copied());
            due.into_iter().map(|settled| settled.path.to_str().unwrap().to_owned()).collect()
        }
    }

    #[test]
    fn a_file_settles_when_it_has_not_changed_for_the_settle_time() {
        let mut world = World::new(9);
        world.hint("/a", 10);
        assert_eq!(world.settler.next_deadline(), Some(SETTLE));
        world.pass(499);
        assert!(world.due().is_empty());
        world.pass(1);
        assert_eq!(world.due(), ["/a"]);
        assert_eq!(world.settler.waiting().count(), 0);
        assert_eq!(world.settler.next_deadline(), None);
    }

    #[test]
    fn a_slow_writer_is_waited_for_even_without_hints() {
        let mut world = World::new(9);
        world.hint("/hinted", 1);
        world.hint("/silent", 1);
        for size in 2..20 {
            world.pass(300);
            world.hint("/hinted", size);
            world.write("/silent", size);
            assert!(world.due().is_empty(), "at size {size}");
        }
        let mut due = Vec::new();
        for _ in 0..2 {
            world.pass(500);
            due.extend(world.due());
        }
        due.sort();
        assert_eq!(due, ["/hinted", "/silent"]);
    }

    #[test]
    fn a_writer_that_pauses_too_long_is_seen_again_when_it_goes_on() {
        let mut world = World::new(9);
        world.hint("/a", 10);
        world.pass(600);
        assert_eq!(world.due(), ["/a"]);
        world.hint("/a", 20);
        world.pass(400);
        assert!(world.due().is_empty());
        world.pass(100);
        assert_eq!(world.due(), ["/a"]);
    }

    #[test]
    fn a_rename_into_place_waits_for_the_new_file() {
        let mut world = World::new(9);
        world.hint("/a", 10);
        world.pass(400);
        let old = world.disk[Path::new("/a")];
        world.disk.insert("/a".into(), FileStamp { inode: old.inode + 100, ..old });
        world.pass(100);
        assert!(world.due().is_empty(), "same size and time, another file");
        world.pass(500);
        assert_eq!(world.due(), ["/a"]);
    }

    #[test]
    fn an_old_file_is_ready_for_a_scan_but_waits_after_a_hint() {
        let mut world = World::new(9);
        world.write("/a", 10);
        world.write("/empty", 0);
        world.pass(60_000);
        assert_eq!(world.see("/a", Sighting::Scan), Observed::Ready);
        assert_eq!(world.settler.waiting().count(), 0, "a ready file takes no memory");
        assert_eq!(world.see("/empty", Sighting::Scan), Observed::Waiting);
        // A copy with its original's modification time that is still being written.
        assert_eq!(world.see("/a", Sighting::Hint), Observed::Waiting);
        assert_eq!(world.see("/a", Sighting::Scan), Observed::Waiting, "it is known to be young");
        world.pass(500);
        assert_eq!(world.due(), ["/a", "/empty"].map(String::from));
    }

    #[test]
    fn a_time_in_the_future_settles_like_any_other() {
        let mut world = World::new(9);
        world.write("/a", 10);
        world.clock.set_wall(Timestamp::UNIX_EPOCH);
        assert_eq!(world.see("/a", Sighting::Scan), Observed::Waiting);
        world.pass(500);
        assert_eq!(world.due(), ["/a"]);
    }

    #[test]
    fn a_scan_does_not_delay_and_a_hint_does() {
        let mut world = World::new(9);
        world.hint("/a", 10);
        world.hint("/b", 10);
        world.pass(400);
        assert_eq!(world.see("/a", Sighting::Scan), Observed::Waiting);
        assert_eq!(world.see("/b", Sighting::Hint), Observed::Waiting);
        world.pass(100);
        assert_eq!(world.due(), ["/a"]);
        world.pass(400);
        assert_eq!(world.due(), ["/b"]);
    }

    #[test]
    fn a_busy_camera_delays_no_other_file_and_not_itself() {
        let mut world = World::new(1000);
        let mut seen = Vec::new();
        for n in 0..60 {
            world.hint(&format!("/{n}"), 10);
            world.hint("/live.jpg", n);
            world.pass(1000);
            seen.extend(world.due());
        }
        assert_eq!(seen.iter().filter(|path| *path != "/live.jpg").count(), 60);
        assert_eq!(seen.len(), 120);
    }

    #[test]
    fn memory_is_bounded_and_refused_files_are_scanned_for_later() {
        let mut world = World::new(100);
        for n in 0..100 {
            world.hint(&format!("/{n}"), 10);
        }
        world.write("/more", 10);
        assert_eq!(world.see("/more", Sighting::Hint), Observed::Refused);
        assert_eq!(world.see("/99", Sighting::Hint), Observed::Waiting, "those inside go on");
        assert_eq!(world.settler.waiting().count(), 100);
        assert!(!world.settler.take_refused());
        world.pass(500);
        assert_eq!(world.settler.due(world.clock.now(), 30, |path| world.disk.get(path).copied()).len(), 30);
        assert!(!world.settler.take_refused());
        assert_eq!(world.due().len(), 70);
        assert!(world.settler.take_refused());
        assert!(!world.settler.take_refused());
        assert_eq!(world.see("/more", Sighting::Scan), Observed::Ready);
    }

    #[test]
    fn deleted_files_are_forgotten() {
        let mut world = World::new(9);
        world.hint("/a", 10);
        world.hint("/b", 10);
        world.settler.remove(Path::new("/a"));
        world.settler.remove(Path::new("/unknown"));
        world.disk.remove(Path::new("/b"));
        world.pass(500);
        assert!(world.due().is_empty());
        assert_eq!(world.settler.waiting().count(), 0);
    }
}
