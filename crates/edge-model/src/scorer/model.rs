//! The parts of a model that do not depend on a device.

use std::path::Path;

use super::error::ScorerError;
use crate::bundle::manifest::file;
use crate::bundle::{Bundle, Manifest};
use crate::text::{TagTokenizer, TextError};

/// A bundle and its tokenizer.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) bundle: Bundle,
    /// Identifies the image encoder and its input rule; see [`Bundle::encoder_digest`].
    pub(super) encoder_digest: String,
    pub(super) tokenizer: TagTokenizer,
}

impl Model {
    pub(super) fn open(dir: &Path) -> Result<Self, ScorerError> {
        let bundle = Bundle::open(dir)?;
        let tokenizer = TagTokenizer::from_bytes(
            &dir.join(file::TOKENIZER),
            &bundle.read(file::TOKENIZER)?,
            bundle.manifest().text_input.clone(),
        )?;
        Ok(Self { encoder_digest: bundle.encoder_digest(), bundle, tokenizer })
    }

    pub(super) fn manifest(&self) -> &Manifest {
        self.bundle.manifest()
    }

    /// Token ids of a tag's prompt.
    pub(super) fn tag_ids(&self, tag: &str) -> Result<Vec<i64>, TextError> {
        let prompt = self.manifest().tag(tag).and_then(|t| t.prompt.as_deref());
        self.tokenizer.encode(tag, prompt)
    }
}
