//! The messages of a running training. The training sends them to a [`Listener`]; only the command line prints them.

use serde::{Deserialize, Serialize};

/// A message of a running training.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Information for the user.
    Note {
        /// The information, as one sentence.
        text: String,
    },
    /// A problem that does not stop the training.
    Warning {
        /// The problem and its consequence.
        text: String,
    },
    /// A phase of known length begins.
    Begin {
        /// Name of the phase, such as `epoch 3`.
        what: String,
        /// Number of steps of the phase.
        steps: u64,
    },
    /// A step of the phase is finished.
    Advance {
        /// A figure to show, such as `loss 0.512`; empty if there is none.
        measure: String,
    },
    /// The phase that began last is finished.
    End,
    /// An epoch is finished and validated.
    Epoch(EpochRecord),
}

/// The figures of an epoch. The run's `metrics.jsonl` has one per line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Number of the epoch, counted from 1.
    pub epoch: usize,
    /// Mean loss over the training batches.
    pub loss: f64,
    /// Mean of the loss's ranking term over the training batches.
    pub ranking: f64,
    /// Mean of the loss's squared error term over the training batches.
    pub squared_error: f64,
    /// Spearman's correlation on the validation images.
    pub srcc: f64,
    /// Mean over the tags of Spearman's correlation within each tag, on the validation images.
    pub within_tag_srcc: f64,
    /// Whether the epoch is the best so far.
    pub best: bool,
    /// Wall-clock time of the training so far.
    pub seconds: f64,
}

/// Receives the messages of a training.
pub trait Listener {
    /// Receives one message. Called in order, on the thread that runs the training.
    fn on(&mut self, message: Message);
}

impl<F: FnMut(Message)> Listener for F {
    fn on(&mut self, message: Message) {
        self(message);
    }
}

/// Sends information that needs no action by the user.
pub(crate) fn note(listener: &mut dyn Listener, text: impl Into<String>) {
    listener.on(Message::Note { text: text.into() });
}

/// Sends a warning about a problem that does not stop the training.
pub(crate) fn warn(listener: &mut dyn Listener, text: impl Into<String>) {
    listener.on(Message::Warning { text: text.into() });
}
