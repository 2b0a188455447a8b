//! Reads and decodes a file in the present process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::identity::{ContentId, FileStamp};
use crate::store::Stage;
use edge_model::image_input::{self, InputRule, Limits, Prepared};

use super::error::DecodeError;
use super::opened::Opened;
use crate::daemon::work::FileFailure;

/// Decodes in this process, on the calling thread.
#[derive(Debug)]
pub(in crate::daemon) struct Here {
    pub(super) rule: InputRule,
    pub(super) limits: Limits,
    bytes: Vec<u8>,
}

impl Here {
    pub(super) fn new(rule: InputRule, limits: Limits) -> Self {
        Self { rule, limits, bytes: Vec::new() }
    }

    pub(super) fn open(&mut self, path: &Path) -> Result<Opened, DecodeError> {
        self.bytes = Vec::new();
        let (bytes, metadata) = image_input::read_file_and_metadata(path, &self.limits)?;
        let opened = Opened { content_id: ContentId::of(&bytes), stamp: FileStamp::of(&metadata) };
        self.bytes = bytes;
        Ok(opened)
    }

    pub(super) fn keywords(&mut self) -> Result<Vec<String>, DecodeError> {
        let bytes = std::mem::take(&mut self.bytes);
        catch_panics(|| Ok(image_input::keywords_of(&bytes)))
    }

    pub(super) fn picture(&mut self) -> Result<Prepared, DecodeError> {
        let bytes = std::mem::take(&mut self.bytes);
        catch_panics(|| Ok(image_input::prepare(&bytes, &self.limits, &self.rule)?))
    }
}

/// Runs `work` and turns a panic into a failure of the file, so that a hostile file does not end the thread.
fn catch_panics<T>(work: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let error = "the decoder panicked on this file. This is a defect; please report it with the file".to_owned();
        Err(DecodeError::Failed(FileFailure { stage: Stage::Decode, error }))
    })
}
