//! Reads and decodes a file in the present process.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::identity::ContentId;
use crate::store::Stage;
use edge_model::image_input::{self, InputRule, Limits, Prepared};

use super::error::FileFailure;

/// Reads and decodes one file after the other.
#[derive(Debug)]
pub(super) struct FileDecoder {
    rule: InputRule,
    limits: Limits,
    bytes: Vec<u8>,
}

impl FileDecoder {
    pub(super) fn new(rule: InputRule, limits: Limits) -> Self {
        Self { rule, limits, bytes: Vec::new() }
    }

    /// Reads a file of `size_bytes` bytes. Later calls of `keywords` and `picture` refer to it.
    pub(super) fn read(&mut self, file: impl Read, size_bytes: u64) -> Result<ContentId, FileFailure> {
        self.bytes = Vec::new();
        self.bytes = image_input::read_opened(file, size_bytes, &self.limits)?;
        Ok(ContentId::of(&self.bytes))
    }

    pub(super) fn keywords(&mut self) -> Result<Vec<String>, FileFailure> {
        let bytes = std::mem::take(&mut self.bytes);
        catch_panics(|| Ok(image_input::keywords_of(&bytes)))
    }

    pub(super) fn picture(&mut self) -> Result<Prepared, FileFailure> {
        let bytes = std::mem::take(&mut self.bytes);
        catch_panics(|| Ok(image_input::prepare(&bytes, &self.limits, &self.rule)?))
    }
}

/// Runs `work` and turns a panic into a failure of the file, so that a hostile file costs no new process.
fn catch_panics<T>(work: impl FnOnce() -> Result<T, FileFailure>) -> Result<T, FileFailure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let error = "the decoder panicked on this file. This is a defect; please report it with the file".to_owned();
        Err(FileFailure { stage: Stage::Decode, error })
    })
}
