//! Draws a training's messages on standard error: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::message::{Listener, Message};
use edge_cli::output::printable;

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
    began: Instant,
    last_line: Instant,
}

impl Progress {
    /// For standard error as it is.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            terminal,
            bar: None,
            what: String::new(),
            done: 0,
            steps: 0,
            began: Instant::now(),
            last_line: Instant::now(),
        }
    }

    fn line(&self, text: &str) {
        let text = printable(text);
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn begin(&mut self, what: String, steps: u64) {
        (self.what, self.steps, self.done) = (what, steps, 0);
        (self.began, self.last_line) = (Instant::now(), Instant::now());
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
            let left = time_left(self.began.elapsed(), self.done, self.steps);
            eprintln!("{}: {} of {}{measure}, {left} left", self.what, self.done, self.steps);
        }
    }
}

/// What the rest takes at the pace so far.
fn time_left(elapsed: Duration, done: u64, steps: u64) -> String {
    let rest = steps.saturating_sub(done) as f64;
    let secs = (elapsed.as_secs_f64() * rest / done.max(1) as f64).round() as u64;
    if secs < 120 { format!("about {secs} s") } else { format!("about {} min", secs.div_ceil(60)) }
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
                    "epoch {}: loss {:.4} (ranking {:.4}, squared error {:.4}), validation SRCC {:.3}, within tags \
                     {:.3}, after {:.0} s{mark}",
                    e.epoch, e.loss, e.ranking, e.squared_error, e.srcc, e.within_tag_srcc, e.seconds
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_pace_so_far() {
        let elapsed = Duration::from_secs(30);
        assert_eq!(time_left(elapsed, 10, 20), "about 30 s");
        assert_eq!(time_left(elapsed, 1, 20), "about 10 min");
        assert_eq!(time_left(elapsed, 0, 0), "about 0 s");
    }
}
