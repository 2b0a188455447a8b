//! Progress of long work on stderr: a bar on a terminal, a plain line at intervals elsewhere. Only this module uses indicatif.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far a long piece of work has come.
#[derive(Debug)]
pub struct ProgressMeter {
    bar: Option<ProgressBar>,
    subject: Subject,
    done: u64,
    total: u64,
    started: Instant,
    last_line: Instant,
}

/// The subject of a meter. It determines the text beside the counts.
#[derive(Debug)]
enum Subject {
    /// Counted things, such as `images`. The rate is shown beside the counts.
    Things(&'static str),
    /// A named phase, such as `epoch 3`. The time left is shown beside the counts.
    Phase(String),
}

impl Subject {
    fn template(&self) -> &'static str {
        match self {
            Self::Things(_) => "{wide_bar} {pos}/{len} {msg} {per_sec} {eta}",
            Self::Phase(_) => "{prefix:>22} [{wide_bar}] {pos}/{len} {msg} {eta}",
        }
    }

    /// Returns the time between two plain lines.
    fn line_interval(&self) -> Duration {
        match self {
            Self::Things(_) => Duration::from_secs(10),
            Self::Phase(_) => Duration::from_secs(30),
        }
    }

    /// Returns the plain line; `figure` is a text such as `loss 0.512` or empty.
    fn line(&self, done: u64, total: u64, figure: &str, elapsed: Duration) -> String {
        match self {
            Self::Things(things) => {
                let rate = done as f64 / elapsed.as_secs_f64();
                format!("{done} of {total} {things} ({rate:.1} per second)")
            }
            Self::Phase(name) => {
                let separator = if figure.is_empty() { "" } else { ", " };
                let left = time_left(elapsed, done, total);
                format!("{name}: {done} of {total}{separator}{figure}, {left} left")
            }
        }
    }
}

impl ProgressMeter {
    /// Starts a meter that shows the rate; `things` names what is counted, such as `images`.
    pub fn counting(things: &'static str) -> Self {
        Self::start(Subject::Things(things), 0)
    }

    /// Starts a meter for a phase of `total` steps that shows the time left.
    pub fn phase(name: String, total: u64) -> Self {
        Self::start(Subject::Phase(name), total)
    }

    fn start(subject: Subject, total: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(subject.template());
            let bar = ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            match &subject {
                Subject::Things(things) => bar.with_message(*things),
                Subject::Phase(name) => bar.with_prefix(name.clone()),
            }
        });
        let now = Instant::now();
        Self { bar, subject, done: 0, total, started: now, last_line: now }
    }

    /// Reports that `done` of `total` things or steps are done.
    pub fn set(&mut self, done: u64, total: u64) {
        (self.done, self.total) = (done, total);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        } else {
            self.line_if_due("");
        }
    }

    /// Reports one more step; `figure` is shown beside the counts, such as `loss 0.512`.
    pub fn advance(&mut self, figure: String) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(figure);
        } else {
            self.line_if_due(&figure);
        }
    }

    /// Prints a line of text on stderr above the bar.
    pub fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Removes the bar from the terminal; does nothing where lines are printed instead.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn line_if_due(&mut self, figure: &str) {
        if self.last_line.elapsed() >= self.subject.line_interval() {
            self.last_line = Instant::now();
            eprintln!("{}", self.subject.line(self.done, self.total, figure, self.started.elapsed()));
        }
    }
}

/// Returns the expected time for the remaining steps, in words.
fn time_left(elapsed: Duration, done: u64, total: u64) -> String {
    let rest = total.saturating_sub(done) as f64;
    let secs = (elapsed.as_secs_f64() * rest / done.max(1) as f64).round() as u64;
    if secs < 120 { format!("about {secs} s") } else { format!("about {} min", secs.div_ceil(60)) }
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

    #[test]
    fn plain_lines_show_the_rate_or_the_time_left() {
        let elapsed = Duration::from_secs(20);
        assert_eq!(Subject::Things("images").line(50, 90, "", elapsed), "50 of 90 images (2.5 per second)");
        let phase = Subject::Phase("epoch 3".to_owned());
        assert_eq!(phase.line(10, 15, "loss 0.512", elapsed), "epoch 3: 10 of 15, loss 0.512, about 10 s left");
        assert_eq!(phase.line(10, 15, "", elapsed), "epoch 3: 10 of 15, about 10 s left");
    }
}
