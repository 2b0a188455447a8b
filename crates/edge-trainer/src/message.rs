//! What a training has to say while it runs. It only speaks through [`Listener`]; how that looks is the listener's business.

use serde::{Deserialize, Serialize};

/// One message of a training.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Message {
    /// Something worth knowing, in a sentence.
    Note {
        /// The sentence.
        text: String,
    },
    /// Something is wrong and was worked around.
    Warning {
        /// What, and how.
        text: String,
    },
    /// A stretch of work of known length begins.
    Begin {
        /// What it is, such as `epoch 3`.
        what: String,
        /// Its number of steps.
        steps: u64,
    },
    /// A step is done.
    Step {
        /// A short measure of how it goes, such as the loss; empty where there is none.
        measure: String,
    },
    /// The stretch is done.
    End,
    /// An epoch is done and was validated.
    Epoch(EpochRecord),
}

/// An epoch in figures; also a line of the run's `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean loss over the training batches.
    pub loss: f64,
    /// The ranking part of it.
    pub ranking: f64,
    /// The squared error.
    pub squared_error: f64,
    /// Spearman correlation on the validation images.
    pub srcc: f64,
    /// Its mean within tags.
    pub within_tag_srcc: f64,
    /// Whether it is the best epoch so far.
    pub best: bool,
    /// Wall-clock time since the training began.
    pub seconds: f64,
}

/// Receives the messages of a training.
pub trait Listener {
    /// Takes one message. Called from the training's own thread, in order.
    fn on(&mut self, message: Message);
}

impl<F: FnMut(Message)> Listener for F {
    fn on(&mut self, message: Message) {
        self(message);
    }
}

/// Says a sentence.
pub(crate) fn note(listener: &mut dyn Listener, text: impl Into<String>) {
    listener.on(Message::Note { text: text.into() });
}

/// Warns with a sentence.
pub(crate) fn warn(listener: &mut dyn Listener, text: impl Into<String>) {
    listener.on(Message::Warning { text: text.into() });
}
