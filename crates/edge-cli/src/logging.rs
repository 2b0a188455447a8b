//! Log lines on stderr.
//!
//! File names are untrusted input. Control characters in messages are escaped, so that no name can forge a log line or move the terminal's
//! cursor. The number of log lines from one log statement is limited, so that a card full of broken files neither fills the disk nor hides
//! other messages.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use env_logger::{Builder, Env, Logger, Target};
use log::{LevelFilter, Log, Metadata, Record};

use super::output::printable;

/// Maximum number of log lines from one log statement within one window.
const MAX_LINES: u64 = 100;
/// Length of the window in which the log lines of one log statement are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Starts logging at the level `default`. The environment variable `EDGE_SCORER_LOG` overrides it, for example with `debug` or
/// `edge_scorer::watch=trace`.
pub fn start(default: LevelFilter) {
    // systemd's journal adds the time itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let ours = ["edge_scorer", "edge_trainer", "edge_model", "edge_cli"].map(|name| format!("{name}={default}"));
    let env = Env::new().filter_or("EDGE_SCORER_LOG", format!("off,{}", ours.join(",")));
    let logger = Builder::from_env(env)
        .target(Target::Stderr)
        .format(move |out, record| {
            let message = record.args().to_string();
            let message = printable(&message);
            let level = record.level().to_string().to_lowercase();
            if journal {
                writeln!(out, "{level}: {message}")
            } else {
                writeln!(out, "{} {level}: {message}", out.timestamp_seconds())
            }
        })
        .build();
    let level = logger.filter();
    let logger = RateLimitedLogger { logger, started: Instant::now(), windows: Mutex::default() };
    // Tests may have set a logger already; it stays.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}

/// A logger that limits the number of log lines from each log statement.
struct RateLimitedLogger {
    logger: Logger,
    started: Instant,
    windows: Mutex<LogWindows>,
}

impl Log for RateLimitedLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.logger.matches(record) {
            return;
        }
        let place = (record.file_static().unwrap_or_default(), record.line().unwrap_or_default());
        let now = self.started.elapsed();
        let admitted = self.windows.lock().unwrap_or_else(PoisonError::into_inner).admit(place, now);
        let Some(Admitted { left_out, last }) = admitted else { return };
        let note = |text: std::fmt::Arguments<'_>| {
            self.logger.log(&Record::builder().metadata(record.metadata().clone()).args(text).build());
        };
        if left_out > 0 {
            note(format_args!("{left_out} messages like the next one were left out"));
        }
        self.logger.log(record);
        if last {
            note(format_args!("further messages like the last one are left out for up to {} s", WINDOW.as_secs()));
        }
    }

    fn flush(&self) {
        self.logger.flush();
    }
}

/// The current window of each log statement, by the statement's file name and line number.
#[derive(Debug, Default)]
struct LogWindows(HashMap<(&'static str, u32), LogWindow>);

/// The current window of one log statement: the time when it began, counted from the start of logging, and the numbers of log lines.
#[derive(Debug)]
struct LogWindow {
    began: Duration,
    written: u64,
    left_out: u64,
}

/// Permission to write a log line.
#[derive(Debug, PartialEq, Eq)]
struct Admitted {
    /// Number of lines that the previous window left out.
    left_out: u64,
    /// Whether this is the last line that its window admits.
    last: bool,
}

impl LogWindows {
    /// Counts a log line of the log statement at `place`. Returns `None` if the statement's window is full.
    fn admit(&mut self, place: (&'static str, u32), now: Duration) -> Option<Admitted> {
        let window = self.0.entry(place).or_insert(LogWindow { began: now, written: 0, left_out: 0 });
        let mut left_out = 0;
        if now.saturating_sub(window.began) >= WINDOW {
            left_out = window.left_out;
            *window = LogWindow { began: now, written: 0, left_out: 0 };
        }
        if window.written == MAX_LINES {
            window.left_out += 1;
            return None;
        }
        window.written += 1;
        Some(Admitted { left_out, last: window.written == MAX_LINES })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_from_one_place_are_limited_and_the_limit_is_reported() {
        let mut windows = LogWindows::default();
        let (loud, calm) = (("a.rs", 1), ("a.rs", 2));
        let at = Duration::from_secs;
        let written: Vec<_> = (0..MAX_LINES + 40).filter_map(|_| windows.admit(loud, at(5))).collect();
        assert_eq!(written.len() as u64, MAX_LINES);
        assert_eq!(written.iter().position(|w| w.last), Some(written.len() - 1));
        assert_eq!(windows.admit(calm, at(6)), Some(Admitted { left_out: 0, last: false }));
        assert_eq!(windows.admit(loud, at(64)), None);
        assert_eq!(windows.admit(loud, at(65)), Some(Admitted { left_out: 41, last: false }));
        assert_eq!(windows.admit(loud, at(999)), Some(Admitted { left_out: 0, last: false }));
    }
}
