//! Reading and decoding of one file after the other: in a process of its own, or in this one.
//!
//! Decoders work on bytes from strangers, and some of them are written in C. In a process of its own a decoder that crashes,
//! hangs or eats memory costs one file one attempt, and never the daemon. [`here`] is the work, [`process`] asks another process
//! for it, [`serve`] is that process, [`protocol`] what the two say to each other.

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
    /// In the daemon's own process: for programs other than edge-scorer that use this library.
    Here,
    /// In processes of this same program, which must call [`serve`] when it is started with [`Decoders::ARGUMENT`].
    #[default]
    Processes,
}

impl Decoders {
    /// The hidden subcommand that makes a decoder of the program.
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

/// A file that was read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opened {
    /// The identity of the image that it holds.
    pub(super) content_id: ContentId,
    /// Its version after the reading.
    pub(super) stamp: FileStamp,
}

/// Why a file cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// There is no such file.
    Gone,
    /// Anything else.
    Failed(FileFailure),
}

impl Decoder {
    /// Reads a file; what follows is about it.
    pub(super) fn open(&mut self, path: &Path) -> Result<Opened, DecodeError> {
        match self {
            Self::Here(here) => here.open(path),
            Self::Process(process) => process.open(path),
        }
    }

    /// The keywords in the file that was read.
    pub(super) fn keywords(&mut self) -> Result<Vec<String>, DecodeError> {
        match self {
            Self::Here(here) => here.keywords(),
            Self::Process(process) => process.keywords(),
        }
    }

    /// The picture in the file that was read.
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
