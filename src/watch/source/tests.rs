//! Tests of the sources on a real file system.

use std::fs;

use crossbeam_channel::{TryRecvError, unbounded};
use jiff::Timestamp;

use std::time::Instant;

use super::*;
use crate::clock::{ManualClock, SystemClock};

const PATIENCE: Duration = Duration::from_secs(10);

fn options(choice: SourceChoice) -> SourceOptions {
    SourceOptions { choice, recursive: true, poll_interval: Duration::from_secs(3600) }
}

/// A directory that is watched by inotify.
struct Watched {
    dir: tempfile::TempDir,
    hints: Receiver<Hint>,
    source: Source,
}

impl Watched {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sender, hints) = unbounded();
        let source = Source::start(dir.path(), options(SourceChoice::Inotify), sender, SystemClock::shared()).unwrap();
        Self { dir, hints, source }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits for the expected hint and returns the hints that came before it.
    fn wait_for(&self, expected: &Hint) -> Vec<Hint> {
        wait_for(&self.hints, expected)
    }

    fn changed(&self, name: &str) -> Hint {
        Hint::Changed(self.path(name))
    }
}

fn wait_for(hints: &Receiver<Hint>, expected: &Hint) -> Vec<Hint> {
    let mut passed = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match hints.recv_deadline(deadline) {
            Ok(hint) if hint == *expected => return passed,
            Ok(hint) => passed.push(hint),
            Err(error) => panic!("{expected:?} did not come ({error}), only {passed:?}"),
        }
    }
}

#[test]
fn inotify_reports_files_written_renamed_and_removed() {
    let watched = Watched::new();
    assert_eq!(watched.source.status().kind, SourceKind::Inotify);
    fs::write(watched.path("a.jpg"), "x").unwrap();
    watched.wait_for(&watched.changed("a.jpg"));
    fs::write(watched.path("b.jpg.part"), "x").unwrap();
    fs::write(watched.path(".c.jpg"), "x").unwrap();
    fs::write(watched.path("notes.txt"), "x").unwrap();
    fs::rename(watched.path("b.jpg.part"), watched.path("b.jpg")).unwrap();
    let before = watched.wait_for(&watched.changed("b.jpg"));
    for hint in before {
        assert!(hint == watched.changed("a.jpg") || hint == Hint::Removed(watched.path("b.jpg.part")), "{hint:?}");
    }
    fs::remove_file(watched.path("a.jpg")).unwrap();
    watched.wait_for(&Hint::Removed(watched.path("a.jpg")));
    fs::hard_link(watched.path("b.jpg"), watched.path("d.jpg")).unwrap();
    watched.wait_for(&watched.changed("d.jpg"));
}

#[test]
fn reading_a_file_is_no_change() {
    let watched = Watched::new();
    fs::write(watched.path("a.jpg"), "x").unwrap();
    watched.wait_for(&watched.changed("a.jpg"));
    // Writing a file causes several hints. All hints of a.jpg come before the hints of a file that is written later.
    fs::write(watched.path("between.jpg"), "x").unwrap();
    watched.wait_for(&watched.changed("between.jpg"));
    fs::read(watched.path("a.jpg")).unwrap();
    fs::write(watched.path("b.jpg"), "x").unwrap();
    let before = watched.wait_for(&watched.changed("b.jpg"));
    assert!(before.iter().all(|hint| *hint == watched.changed("between.jpg")), "{before:?}");
}

#[test]
fn a_new_directory_is_scanned_after_it_is_watched() {
    let watched = Watched::new();
    fs::create_dir_all(watched.path("new/deep")).unwrap();
    fs::write(watched.path("new/deep/early.jpg"), "x").unwrap();
    let rescan = Hint::Rescan { dir: watched.path("new"), reason: RescanReason::NewDirectory };
    watched.wait_for(&rescan);
    // A rescan finds the files from before the deeper directory was watched. Later files cause a hint.
    let late = watched.changed("new/deep/late.jpg");
    let is_told = |_| {
        fs::write(watched.path("new/deep/late.jpg"), "x").unwrap();
        let deadline = Instant::now() + PATIENCE / 10;
        std::iter::from_fn(|| watched.hints.recv_deadline(deadline).ok()).any(|hint| hint == late)
    };
    assert!((0..10).any(is_told), "{late:?} did not come");

    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("moved")).unwrap();
    fs::rename(outside.path().join("moved"), watched.path("moved")).unwrap();
    watched.wait_for(&Hint::Rescan { dir: watched.path("moved"), reason: RescanReason::NewDirectory });
    fs::remove_dir_all(watched.path("new")).unwrap();
    watched.wait_for(&Hint::Removed(watched.path("new")));
}

#[test]
fn without_recursion_subdirectories_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, hints) = unbounded();
    let flat = SourceOptions { recursive: false, ..options(SourceChoice::Inotify) };
    let _source = Source::start(dir.path(), flat, sender, SystemClock::shared()).unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/a.jpg"), "x").unwrap();
    fs::write(dir.path().join("b.jpg"), "x").unwrap();
    assert_eq!(wait_for(&hints, &Hint::Changed(dir.path().join("b.jpg"))), []);
}

#[test]
fn a_full_channel_causes_a_rescan() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, hints) = bounded(2);
    let source = Source::start(dir.path(), options(SourceChoice::Inotify), sender, SystemClock::shared()).unwrap();
    for n in 0..200 {
        fs::write(dir.path().join(format!("{n}.jpg")), "x").unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    wait_for(&hints, &Hint::Rescan { dir: dir.path().into(), reason: RescanReason::ChannelFull });
    drop(source);
}

#[test]
fn a_source_ends_while_its_channel_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, hints) = bounded(1);
    let source = Source::start(dir.path(), options(SourceChoice::Inotify), sender, SystemClock::shared()).unwrap();
    for n in 0..20 {
        fs::write(dir.path().join(format!("{n}.jpg")), "x").unwrap();
    }
    drop(source);
    drop(hints);
}

#[test]
fn a_directory_that_is_replaced_is_watched_again() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("photos");
    let (sender, hints) = unbounded();
    let source = Source::start(&root, options(SourceChoice::Auto), sender, SystemClock::shared()).unwrap();
    assert_eq!(source.status().kind, SourceKind::Waiting);
    let rescan = Hint::Rescan { dir: root.clone(), reason: RescanReason::RootChanged };

    fs::create_dir(&root).unwrap();
    wait_for(&hints, &rescan);
    fs::write(root.join("1.jpg"), "x").unwrap();
    wait_for(&hints, &Hint::Changed(root.join("1.jpg")));

    // Delete and recreate the directory at once: the file system may reuse its inode.
    fs::remove_dir_all(&root).unwrap();
    fs::create_dir(&root).unwrap();
    wait_for(&hints, &rescan);
    let deadline = Instant::now() + PATIENCE;
    for n in 0.. {
        let path = root.join(format!("again-{n}.jpg"));
        fs::write(&path, "x").unwrap();
        if hints.recv_timeout(Duration::from_millis(300)).is_ok_and(|hint| matches!(hint, Hint::Changed(_))) {
            break;
        }
        assert!(Instant::now() < deadline, "the new directory is not watched");
    }

    fs::rename(&root, outer.path().join("elsewhere")).unwrap();
    wait_for(&hints, &rescan);
    assert_eq!(source.status().kind, SourceKind::Waiting);
}

#[test]
fn a_polled_directory_is_scanned_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, hints) = bounded(1);
    let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
    let source = Source::start(dir.path(), options(SourceChoice::Poll), sender, clock.clone()).unwrap();
    let rescan = Hint::Rescan { dir: dir.path().into(), reason: RescanReason::Periodic };
    for _ in 0..3 {
        assert_eq!(hints.try_recv(), Err(TryRecvError::Empty), "the interval has not passed");
        clock.advance(Duration::from_secs(3600));
        assert_eq!(wait_for(&hints, &rescan), []);
    }
    let status = source.status();
    assert_eq!((status.kind, status.reason.as_str()), (SourceKind::Poll, "set in the configuration"));
}
