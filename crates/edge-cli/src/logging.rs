//! Log lines on stderr. File names come from strangers: control characters in them are written as escapes, so that no name
//! can forge a line or move a terminal's cursor. One place in the code that has much to say, such as a card full of broken
//! files, neither fills a disk with it nor hides what the others say.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use env_logger::{Builder, Env, Logger, Target};
use log::{LevelFilter, Log, Metadata, Record};

use super::output::printable;

/// Lines that one place in the code may write in one window.
const MOST: u64 = 100;
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(60);

/// Starts logging at `default` level; `EDGE_SCORER_LOG` (such as `debug` or `edge_scorer::watch=trace`) goes before it.
pub fn start(default: LevelFilter) {
    // Under systemd the journal has the time already.
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
    let logger = Limited { logger, started: Instant::now(), windows: Mutex::default() };
    // A logger that is there already, as in tests, serves as well.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}

/// Leaves out what is too much.
struct Limited {
    logger: Logger,
    started: Instant,
    windows: Mutex<Windows>,
}

impl Log for Limited {
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
            note(format_args!("{left_out} more like the next were left out"));
        }
        self.logger.log(record);
        if last {
            note(format_args!("more like the last one are left out for a while"));
        }
    }

    fn flush(&self) {
        self.logger.flush();
    }
}

/// How much each place in the code, by file and line, has written.
#[derive(Debug, Default)]
struct Windows(HashMap<(&'static str, u32), Window>);

#[derive(Debug)]
struct Window {
    began: Duration,
    written: u64,
    left_out: u64,
}

/// A line that may be written.
#[derive(Debug, PartialEq, Eq)]
struct Admitted {
    /// Lines that the window before left out.
    left_out: u64,
    /// Whether it is the last one of its window.
    last: bool,
}

impl Windows {
    fn admit(&mut self, place: (&'static str, u32), now: Duration) -> Option<Admitted> {
        let window = self.0.entry(place).or_insert(Window { began: now, written: 0, left_out: 0 });
        let mut left_out = 0;
        if now.saturating_sub(window.began) >= WINDOW {
            left_out = window.left_out;
            *window = Window { began: now, written: 0, left_out: 0 };
        }
        if window.written == MOST {
            window.left_out += 1;
            return None;
        }
        window.written += 1;
        Some(Admitted { left_out, last: window.written == MOST })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_has_much_to_say_is_cut_short_and_says_so_and_the_others_are_heard() {
        let mut windows = Windows::default();
        let (loud, calm) = (("a.rs", 1), ("a.rs", 2));
        let at = Duration::from_secs;
        let written: Vec<_> = (0..MOST + 40).filter_map(|_| windows.admit(loud, at(5))).collect();
        assert_eq!(written.len() as u64, MOST);
        assert_eq!(written.iter().position(|w| w.last), Some(written.len() - 1));
        assert_eq!(windows.admit(calm, at(6)), Some(Admitted { left_out: 0, last: false }));
        assert_eq!(windows.admit(loud, at(64)), None);
        assert_eq!(windows.admit(loud, at(65)), Some(Admitted { left_out: 41, last: false }));
        assert_eq!(windows.admit(loud, at(999)), Some(Admitted { left_out: 0, last: false }));
    }
}
