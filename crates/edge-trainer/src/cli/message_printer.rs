//! Prints the messages of a training on standard error.

use edge_cli::output::printable;
use edge_cli::progress::ProgressMeter;

use crate::message::{Listener, Message};

/// Prints the messages of a training on standard error, and shows the progress of its phases.
#[derive(Debug, Default)]
pub(super) struct MessagePrinter {
    /// Progress meter of the current phase; `None` between phases.
    meter: Option<ProgressMeter>,
}

impl MessagePrinter {
    fn print(&self, text: &str) {
        let text = printable(text);
        match &self.meter {
            Some(meter) => meter.print(&text),
            None => eprintln!("{text}"),
        }
    }
}

impl Listener for MessagePrinter {
    fn on(&mut self, message: Message) {
        match message {
            Message::Note { text } => self.print(&text),
            Message::Warning { text } => self.print(&format!("warning: {text}")),
            Message::Begin { what, steps } => self.meter = Some(ProgressMeter::phase(what, steps)),
            Message::Advance { measure } => {
                if let Some(meter) = &mut self.meter {
                    meter.advance(measure);
                }
            }
            Message::End => {
                if let Some(meter) = self.meter.take() {
                    meter.finish();
                }
            }
            Message::Epoch(e) => {
                let mark = if e.best { ", the best so far" } else { "" };
                self.print(&format!(
                    "epoch {}: loss {:.4} (ranking {:.4}, squared error {:.4}), validation SRCC {:.3}, within tags \
                     {:.3}, after {:.0} s{mark}",
                    e.epoch, e.loss, e.ranking, e.squared_error, e.srcc, e.within_tag_srcc, e.seconds
                ));
            }
        }
    }
}
