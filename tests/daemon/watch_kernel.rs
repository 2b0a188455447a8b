//! Faults between a watched directory and the kernel: the limit of inotify watches, an overflow of the event queue, a mount that
//! comes and goes. Each fault is provoked for real, in a child process so that it does not affect other tests. A test is skipped if
//! the system does not allow its fault.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, unbounded};
use edge_scorer::clock::SystemClock;
use edge_scorer::watch::{Hint, Source, SourceChoice, SourceOptions};
use edge_testing::{can_unshare, skip};
use rustix::process::{Pid, Signal, kill_process};

const ROOT: &str = "EDGE_SCORER_TEST_ROOT";
const CHOICE: &str = "EDGE_SCORER_TEST_SOURCE";
const PATIENCE: Duration = Duration::from_secs(20);
/// The exit code of a child process whose setup failed.
const SETUP_REFUSED: i32 = 99;

/// The child process that the other tests in this file start. Watches a directory and prints the hints until its standard input
/// ends.
#[test]
#[ignore = "it is the child process that the other tests of this module start by its name"]
fn child() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else { return };
    let choice = match std::env::var(CHOICE).unwrap().as_str() {
        "inotify" => SourceChoice::Inotify,
        _ => SourceChoice::Auto,
    };
    let options = SourceOptions { choice, recursive: true, poll_interval: Duration::from_millis(300) };
    let (sender, hints) = bounded(100_000);
    let source = match Source::start(&root, options, sender, SystemClock::shared()) {
        Ok(source) => source,
        Err(error) => return println!("\nerror {error}"),
    };
    println!("\nstarted {} {}", source.status().kind, source.status().reason);
    let (end, ended) = unbounded::<()>();
    std::thread::spawn(move || {
        for command in std::io::stdin().lines() {
            // A mount namespace belongs to its process, so this process runs the commands that mount.
            let done = Command::new("sh").arg("-c").arg(command.unwrap()).status();
            println!("\ndone {}", done.is_ok_and(|status| status.success()));
        }
        drop(end);
    });
    loop {
        crossbeam_channel::select! {
            recv(hints) -> hint => match hint {
                Ok(Hint::Rescan { reason, .. }) => {
                    let status = source.status();
                    println!("\nrescan {reason}; now {} {}", status.kind, status.reason);
                }
                Ok(Hint::Changed(path)) => println!("\nchanged {}", path.file_name().unwrap().display()),
                Ok(Hint::Removed(_)) | Err(_) => {}
            },
            recv(ended) -> _ => return,
        }
    }
}

/// A child process that watches a directory.
struct Watching {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Lines that were read while waiting for another line.
    held: VecDeque<String>,
    /// The line that says how the watching started, or why it could not start.
    start: String,
}

impl Watching {
    /// Runs the shell text `setup`, in new namespaces if there are options for `unshare`, and then watches `root`. Returns
    /// `None`, and reports `test` as skipped, if the system does not allow the setup.
    fn start(test: &str, unshare: &[&str], setup: &str, root: &Path, choice: &str) -> Option<Self> {
        if !unshare.is_empty() && !can_unshare(test, unshare) {
            return None;
        }
        let mut command = match unshare {
            [] => Command::new("sh"),
            options => {
                let mut command = Command::new("unshare");
                command.args(options).arg("sh");
                command
            }
        };
        let spawned = command
            .arg("-c")
            .arg(format!(
                "{setup} || exit {SETUP_REFUSED}; exec \"$0\" --exact watch_kernel::child --ignored --nocapture"
            ))
            .arg(std::env::current_exe().unwrap())
            .envs([(ROOT, root.as_os_str()), (CHOICE, choice.as_ref())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = spawned.unwrap();
        let (sender, lines) = unbounded();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut watching =
            Self { stdin: child.stdin.take(), child, lines, held: VecDeque::new(), start: String::new() };
        match watching.next(&["started", "error"]) {
            Some(line) => watching.start = line,
            None => {
                let status = watching.child.wait().unwrap();
                assert_eq!(status.code(), Some(SETUP_REFUSED), "the child process ended before it watched");
                skip(test, &format!("`{setup}` is refused here"));
                return None;
            }
        }
        Some(watching)
    }

    /// The next line that starts with one of these words; `None` if the child has ended.
    fn next(&mut self, starts: &[&str]) -> Option<String> {
        loop {
            let line = match self.held.pop_front() {
                Some(line) => line,
                None => self.read(starts)?,
            };
            if starts.iter().any(|start| line.starts_with(start)) {
                return Some(line);
            }
        }
    }

    fn read(&self, expected: &[&str]) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line starts with any of {expected:?}"),
        }
    }

    /// Runs a shell command in the child and returns whether it succeeded. Lines read meanwhile are kept for `next`.
    fn run(&mut self, command: &str) -> bool {
        writeln!(self.stdin.as_mut().unwrap(), "{command}").unwrap();
        loop {
            match self.read(&["done"]).unwrap() {
                line if line.starts_with("done") => return line == "done true",
                line => self.held.push_back(line),
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stdin.take();
        let _ = self.child.wait();
    }
}

/// A shell command that limits the inotify watches of the user namespace it runs in.
fn allow_watches(number: u32) -> String {
    format!("echo {number} > /proc/sys/user/max_inotify_watches")
}

fn make_directories(root: &Path, number: usize) {
    for n in 0..number {
        fs::create_dir(root.join(n.to_string())).unwrap();
    }
}

#[test]
fn too_few_watches_are_an_error_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    make_directories(dir.path(), 9);
    let test = "watch_kernel::too_few_watches_are_an_error_with_advice";
    let Some(watching) = Watching::start(test, &["-Ur"], &allow_watches(4), dir.path(), "inotify") else { return };
    let start = &watching.start;
    assert!(
        start.starts_with(&format!("error {}: its 10 directories need one inotify watch each", dir.path().display())),
        "{start}"
    );
    assert!(start.contains("sysctl fs.inotify.max_user_watches="), "{start}");
}

#[test]
fn with_too_few_watches_auto_polls() {
    let dir = tempfile::tempdir().unwrap();
    make_directories(dir.path(), 9);
    let test = "watch_kernel::with_too_few_watches_auto_polls";
    let Some(mut watching) = Watching::start(test, &["-Ur"], &allow_watches(4), dir.path(), "auto") else { return };
    let start = &watching.start;
    assert!(start.starts_with("started poll inotify does not work:"), "{start}");
    assert!(start.contains("its 10 directories need one inotify watch each"), "{start}");
    assert!(watching.next(&["rescan"]).unwrap().starts_with("rescan the directory is polled"));
}

#[test]
fn when_watches_run_out_later_auto_polls_as_well() {
    let dir = tempfile::tempdir().unwrap();
    make_directories(dir.path(), 2);
    let test = "watch_kernel::when_watches_run_out_later_auto_polls_as_well";
    let Some(mut watching) = Watching::start(test, &["-Ur"], &allow_watches(4), dir.path(), "auto") else { return };
    assert!(watching.start.starts_with("started inotify"), "{}", watching.start);
    let outside = tempfile::tempdir().unwrap();
    make_directories(outside.path(), 5);
    fs::rename(outside.path(), dir.path().join("moved-in")).unwrap();
    let mut rescan = watching.next(&["rescan"]).unwrap();
    while !rescan.starts_with("rescan the directory is polled") {
        rescan = watching.next(&["rescan"]).unwrap();
    }
    assert!(
        rescan.contains("now poll") && rescan.contains("its 9 directories need one inotify watch each"),
        "{rescan}"
    );
    fs::write(dir.path().join("0/still.jpg"), "x").unwrap();
    assert_eq!(watching.next(&["changed"]).unwrap(), "changed still.jpg", "a directory that has a watch sends no hint");
}

#[test]
fn an_overflow_of_the_kernels_queue_ends_in_a_scan() {
    let test = "watch_kernel::an_overflow_of_the_kernels_queue_ends_in_a_scan";
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    if limit > 100_000 {
        return skip(test, &format!("the kernel queues {limit} events, too many for a test"));
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(mut watching) = Watching::start(test, &[], "true", dir.path(), "inotify") else { return };
    let pid = Pid::from_child(&watching.child);
    kill_process(pid, Signal::STOP).unwrap();
    // Creating, opening and closing a file is one event each.
    for n in 0..limit / 3 + 100 {
        fs::write(dir.path().join(format!("{n}.jpg")), "").unwrap();
    }
    kill_process(pid, Signal::CONT).unwrap();
    let rescan = watching.next(&["rescan"]).unwrap();
    assert!(rescan.starts_with("rescan the kernel's event queue overflowed"), "{rescan}");
    fs::write(dir.path().join("after.jpg"), "").unwrap();
    while watching.next(&["changed"]).unwrap() != "changed after.jpg" {}
}

#[test]
fn a_mount_that_comes_and_goes_is_noticed_and_watched() {
    let dir = tempfile::tempdir().unwrap();
    let card = dir.path().join("card");
    fs::create_dir(&card).unwrap();
    let test = "watch_kernel::a_mount_that_comes_and_goes_is_noticed_and_watched";
    let Some(mut watching) = Watching::start(test, &["-Urm"], "true", &card, "auto") else { return };
    let quoted = format!("'{}'", card.display());
    if !watching.run(&format!("mount -t tmpfs none {quoted}")) {
        return skip(test, "`mount -t tmpfs` is refused in a new mount namespace");
    }
    let changed = "rescan the watched directory appeared, disappeared or was replaced; now inotify";
    let rescan = watching.next(&["rescan"]).unwrap();
    assert!(rescan.starts_with(changed), "{rescan}");
    assert!(watching.run(&format!("touch {quoted}/on-the-card.jpg")));
    assert_eq!(watching.next(&["changed"]).unwrap(), "changed on-the-card.jpg");
    assert!(watching.run(&format!("umount -l {quoted}")));
    let rescan = watching.next(&["rescan"]).unwrap();
    assert!(rescan.starts_with(changed), "{rescan}");
    fs::write(card.join("on-the-mount-point.jpg"), "x").unwrap();
    assert_eq!(watching.next(&["changed"]).unwrap(), "changed on-the-mount-point.jpg");
}
