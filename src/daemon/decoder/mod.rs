//! Reads and decodes one file after the other, in a decoder process or in this process.
//!
//! Image decoders handle untrusted bytes, and some of them are written in C. In a decoder process, a crash, a hang or a
//! lack of memory costs one attempt at one file and does not affect the daemon. [`here`] does the work, [`process`]
//! requests it from a decoder process, [`serve`] is that process, and [`protocol`] defines the messages between the two.

mod choice;
mod error;
mod here;
mod opened;
mod process;
mod protocol;
mod serve;

use std::path::Path;
use std::time::Duration;

use edge_model::image_input::{InputRule, Limits, Prepared};

pub use choice::Decoders;
pub(super) use error::DecodeError;
use here::Here;
use opened::Opened;
use process::DecoderProcess;
pub use serve::serve;

impl Decoders {
    pub(super) fn start(self, rule: &InputRule, limits: &Limits, timeout: Duration) -> Decoder {
        let here = Here::new(rule.clone(), *limits);
        match self {
            Self::Here => Decoder::Here(Box::new(here)),
            Self::Processes => Decoder::Process(Box::new(DecoderProcess::new(here, timeout))),
        }
    }
}

/// Reads and decodes one file at a time.
pub(super) enum Decoder {
    Here(Box<Here>),
    Process(Box<DecoderProcess>),
}

impl Decoder {
    /// Reads a file. Later calls of `keywords` and `picture` refer to it.
    pub(super) fn open(&mut self, path: &Path) -> Result<Opened, DecodeError> {
        match self {
            Self::Here(here) => here.open(path),
            Self::Process(process) => process.open(path),
        }
    }

    /// Returns the keywords in the file that was opened last.
    pub(super) fn keywords(&mut self) -> Result<Vec<String>, DecodeError> {
        match self {
            Self::Here(here) => here.keywords(),
            Self::Process(process) => process.keywords(),
        }
    }

    /// Returns the picture in the file that was opened last.
    pub(super) fn picture(&mut self) -> Result<Prepared, DecodeError> {
        match self {
            Self::Here(here) => here.picture(),
            Self::Process(process) => process.picture(),
        }
    }
}
