//! Reads and decodes one file after the other, in a decoder process or in this process.
//!
//! Image decoders handle untrusted bytes, and some of them are written in C. In a decoder process, a crash, a hang or a
//! lack of memory costs one attempt at one file and does not affect the daemon. [`here`] does the work, [`process`]
//! requests it from a decoder process, [`serve`] is that process, and [`protocol`] defines the messages between the two.

mod here;
mod process;
mod protocol;
mod serve;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::{ContentId, FileStamp};

pub use serve::serve;

use edge_model::image_input::{ImageError, InputRule, Limits, Prepared};

use super::work::FileFailure;
use here::Here;
use process::DecoderProcess;

/// Where files are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decoders {
    /// In the daemon's own process. This is for programs other than edge-scorer that use this library.
    Here,
    /// In processes of the same program, which must call [`serve`] when it is started with [`Decoders::ARGUMENT`].
    #[default]
    Processes,
}

impl Decoders {
    /// The hidden subcommand that runs the program as a decoder process.
    pub const ARGUMENT: &'static str = "decoder-process";

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

/// A file that was read completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opened {
    /// Content id of the file.
    pub(super) content_id: ContentId,
    /// Stamp of the file after it was read.
    pub(super) stamp: FileStamp,
}

/// Why a file cannot be read or decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// The file does not exist.
    Gone,
    /// Any other failure.
    Failed(FileFailure),
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

impl From<ImageError> for DecodeError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Unreadable { not_found: true, .. } => Self::Gone,
            other => Self::Failed(other.into()),
        }
    }
}
