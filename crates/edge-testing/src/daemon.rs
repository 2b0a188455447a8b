//! A running daemon (`edge-scorer run`) under test.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{PATIENCE, Place, model, until};

/// A daemon process. It is killed at the end of its test if it still runs.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Place {
    /// Starts `run` with the shipped bundle and the database of this [`Place`], and waits until the daemon is ready.
    pub fn daemon(&self, arguments: &[&str]) -> Daemon {
        let daemon = self.start(arguments, |_| {});
        daemon.wait_for("ready");
        daemon
    }

    /// Starts `run` with the shipped bundle, without waiting. `change` may change the command.
    pub fn start(&self, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Daemon {
        self.start_on(&model(), arguments, change)
    }

    /// Starts `run` with another bundle, without waiting. `change` may change the command.
    pub fn start_on(&self, model: &Path, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Daemon {
        let log = (0..).map(|n| self.path(format!("daemon-{n}.log"))).find(|path| !path.exists()).unwrap();
        let mut command = self.command();
        command.args(["run".as_ref(), "--model".as_ref(), model.as_os_str(), "--db".as_ref(), self.db().as_os_str()]);
        if !arguments.contains(&"--config") {
            command.arg("--config").arg(self.config(""));
        }
        command.args(arguments.iter().map(OsStr::new)).stdout(Stdio::null()).stderr(File::create_new(&log).unwrap());
        change(&mut command);
        Daemon::spawn(command, log)
    }

    /// A number from the running daemon's status.
    #[track_caller]
    pub fn live(&self, name: &str) -> u64 {
        let status = self.scorer("status", &["--format", "json"]).expect(0).json();
        status["daemon"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {status}"))
    }

    /// Waits until a query returns these rows.
    #[track_caller]
    pub fn wait_for_rows(&self, sql: &str, expected: &[&str]) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let rows = self.try_rows(sql);
            if rows.as_deref().is_some_and(|rows| rows == expected) {
                return;
            }
            assert!(Instant::now() < give_up, "{sql} returns {rows:?} instead of {expected:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Daemon {
    /// Starts a command whose stderr goes to the file `log`.
    pub fn spawn(mut command: Command, log: PathBuf) -> Self {
        Self { child: command.spawn().unwrap(), log }
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits until the log contains a text.
    pub fn wait_for(&self, text: &str) {
        until(&format!("{text:?} in the log"), || self.log().contains(text).then_some(()));
    }

    /// Waits until the log contains a text this many times.
    pub fn wait_for_times(&self, text: &str, times: usize) {
        until(&format!("{text:?} {times} times in the log"), || {
            (self.log().matches(text).count() >= times).then_some(())
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The daemon's running decoder processes.
    pub fn decoders(&self) -> Vec<Pid> {
        let parent = self.pid().to_string();
        let is_child = |stat: &str| {
            let fields: Vec<&str> = stat.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
            fields.first() != Some(&"Z") && fields.get(1) == Some(&parent.as_str())
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let stat = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/stat"));
        numbers.filter(|pid| stat(pid).is_ok_and(|stat| is_child(&stat))).filter_map(Pid::from_raw).collect()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the daemon has ended. Returns its exit status and its log.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = until("the end of the daemon", || self.child.try_wait().unwrap());
        (status, self.log())
    }

    /// Asks the daemon to stop, and fails unless its exit code is 0. Returns its log.
    #[track_caller]
    pub fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (status, log) = self.end();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}
