//! What goes wrong between a watched directory and the kernel, provoked for real: the limit of watches, the overflow of the
//! queue, a mount that comes and goes. Each fault is provoked in a child process of its own, where it harms nobody; what the
//! system does not allow to be provoked is skipped, loudly.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, unbounded};
use edge_scorer::watch::{Hint, Source, SourceChoice, SourceOptions};
use rustix::process::{Pid, Signal, kill_process};

const ROOT: &str = "EDGE_SCORER_TEST_ROOT";
const CHOICE: &str = "EDGE_SCORER_TEST_SOURCE";
const PATIENCE: Duration = Duration::from_secs(20);

/// Not a test of its own: watches a directory and prints what it hears until its standard input ends.
#[test]
#[ignore = "run by the other tests of this file"]
fn child() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else { return };
    let choice = match std::env::var(CHOICE).unwrap().as_str() {
        "inotify" => SourceChoice::Inotify,
        _ => SourceChoice::Auto,
    };
    let options = SourceOptions { choice, recursive: true, poll_interval: Duration::from_millis(300) };
    let (sender, hints) = bounded(100_000);
    let source = match Source::start(&root, options, sender) {
        Ok(source) => source,
        Err(error) => return println!("\nerror {error}"),
    };
    println!("\nstarted {} {}", source.status().kind, source.status().reason);
    let (end, ended) = unbounded::<()>();
    std::thread::spawn(move || {
        for command in std::io::stdin().lines() {
            // Mounts belong to the process that makes them, so this process makes them on command.
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

/// A child process that watches.
struct Watching {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What came while something else was waited for.
    held: VecDeque<String>,
    /// How it started, or why not.
    start: String,
}

impl Watching {
    /// Runs the shell text `setup`, under `unshare` with the given options where there are any, then watches `root`. None where
    /// that is not allowed.
    fn start(unshare: &[&str], setup: &str, root: &Path, choice: &str) -> Option<Self> {
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
            .arg(format!("{setup} || exit 99; exec \"$0\" --exact child --ignored --nocapture"))
            .arg(std::env::current_exe().unwrap())
            .envs([(ROOT, root.as_os_str()), (CHOICE, choice.as_ref())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else { return skip("there is no unshare program") };
        let (sender, lines) = unbounded();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut watching =
            Self { stdin: child.stdin.take(), child, lines, held: VecDeque::new(), start: String::new() };
        match watching.next(&["started", "error"]) {
            Some(line) => watching.start = line,
            None => return skip(&format!("unshare {unshare:?} and {setup:?} are not allowed here")),
        }
        Some(watching)
    }

    /// The next line that starts with one of these words; none when the child has ended.
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
            Err(RecvTimeoutError::Timeout) => panic!("{expected:?} did not come"),
        }
    }

    /// Runs a shell command in the child; what comes meanwhile is kept for `next`.
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

fn skip<T>(why: &str) -> Option<T> {
    eprintln!("SKIPPED: {why}");
    None
}

/// Shell text that allows this process and its children so many watches; it holds for a user namespace of their own.
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
    let Some(watching) = Watching::start(&["-Ur"], &allow_watches(4), dir.path(), "inotify") else { return };
    let start = &watching.start;
    assert!(
        start.starts_with(&format!("error {}: its 10 directories need one inotify watch each", dir.path().display())),
        "{start}"
    );
    assert!(start.contains("sysctl fs.inotify.max_user_watches="), "{start}");
}

#[test]
fn too_few_watches_make_auto_poll() {
    let dir = tempfile::tempdir().unwrap();
    make_directories(dir.path(), 9);
    let Some(mut watching) = Watching::start(&["-Ur"], &allow_watches(4), dir.path(), "auto") else { return };
    let start = &watching.start;
    assert!(start.starts_with("started poll inotify does not work here"), "{start}");
    assert!(start.contains("its 10 directories need one inotify watch each"), "{start}");
    assert!(watching.next(&["rescan"]).unwrap().starts_with("rescan the directory is polled"));
}

#[test]
fn watches_that_run_out_later_make_it_poll_as_well() {
    let dir = tempfile::tempdir().unwrap();
    make_directories(dir.path(), 2);
    let Some(mut watching) = Watching::start(&["-Ur"], &allow_watches(4), dir.path(), "auto") else { return };
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
    assert_eq!(watching.next(&["changed"]).unwrap(), "changed still.jpg", "what is watched still tells");
}

#[test]
fn an_overflow_of_the_kernels_queue_ends_in_a_scan() {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    if limit > 100_000 {
        return eprintln!("SKIPPED: the kernel queues {limit} events, too many for a test");
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(mut watching) = Watching::start(&[], "true", dir.path(), "inotify") else { return };
    let pid = Pid::from_child(&watching.child);
    kill_process(pid, Signal::STOP).unwrap();
    // Making, opening and closing a file are an event each.
    for n in 0..limit / 3 + 100 {
        fs::write(dir.path().join(format!("{n}.jpg")), "").unwrap();
    }
    kill_process(pid, Signal::CONT).unwrap();
    let rescan = watching.next(&["rescan"]).unwrap();
    assert!(rescan.starts_with("rescan more happened than the kernel keeps"), "{rescan}");
    fs::write(dir.path().join("after.jpg"), "").unwrap();
    while watching.next(&["changed"]).unwrap() != "changed after.jpg" {}
}

#[test]
fn a_mount_that_comes_and_goes_is_noticed_and_watched() {
    let dir = tempfile::tempdir().unwrap();
    let card = dir.path().join("card");
    fs::create_dir(&card).unwrap();
    let Some(mut watching) = Watching::start(&["-Urm"], "true", &card, "auto") else { return };
    let quoted = format!("'{}'", card.display());
    if !watching.run(&format!("mount -t tmpfs none {quoted}")) {
        return eprintln!("SKIPPED: tmpfs cannot be mounted here");
    }
    let changed = "rescan the watched directory has come, gone or been replaced; now inotify";
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
