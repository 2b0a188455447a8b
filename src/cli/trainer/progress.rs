//! Draws a training's messages on standard error: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::printable;
use crate::train::message::{Listener, Message};

/// Between two plain lines of one stretch.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// Draws messages.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    bar: Option<ProgressBar>,
    what: String,
    done: u64,
    steps: u64,
    last_line: Instant,
}

impl Progress {
    /// For standard error as it is.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { terminal, bar: None, what: String::new(), done: 0, steps: 0, last_line: Instant::now() }
    }

    fn line(&self, text: &str) {
        let text = printable(text);
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn begin(&mut self, what: String, steps: u64) {
        (self.what, self.steps, self.done, self.last_line) = (what, steps, 0, Instant::now());
        if self.terminal {
            let style = ProgressStyle::with_template("{prefix:>22} [{wide_bar}] {pos}/{len} {msg} {eta}");
            let bar = ProgressBar::new(steps).with_prefix(self.what.clone());
            self.bar = Some(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())));
        }
    }

    fn step(&mut self, measure: String) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(measure);
        } else if self.last_line.elapsed() >= PLAIN_INTERVAL {
            self.last_line = Instant::now();
            let measure = if measure.is_empty() { measure } else { format!(", {measure}") };
            eprintln!("{}: {} of {}{measure}", self.what, self.done, self.steps);
        }
    }
}

impl Listener for Progress {
    fn on(&mut self, message: Message) {
        match message {
            Message::Note { text } => self.line(&text),
            Message::Warning { text } => self.line(&format!("warning: {text}")),
            Message::Begin { what, steps } => self.begin(what, steps),
            Message::Step { measure } => self.step(measure),
            Message::End => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
            Message::Epoch(e) => {
                let mark = if e.best { ", the best so far" } else { "" };
                self.line(&format!(
                    "epoch {}: loss {:.4} (ranking {:.4}, squared error {:.4}), validation SRCC {:.3}, within tags {:.3}, \
                     after {:.0} s{mark}",
                    e.epoch, e.loss, e.ranking, e.squared_error, e.srcc, e.within_tag_srcc, e.seconds
                ));
            }
        }
    }
}
