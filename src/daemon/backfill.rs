//! Scores that images in the database still lack: under a tag added to the configuration, or of a model whose encoder made
//! the stored embeddings. They need no file.

use std::collections::HashMap;

use crate::store::{ImageId, ModelId, Store, StoreError, StoredEmbedding, TagId, TagReason};

use super::work::StoredWork;

/// Embeddings per message: enough for one run of the head.
const WORK_IMAGES: usize = 256;
/// Embeddings that are collected for all tags together: thousands of rare tags must not fill the memory.
const MOST_PENDING: usize = 4096;

/// What an image of the database still needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing, or scores that are collected now.
    NoFile,
    /// Its embedding is of another encoder, or not enough for the model's head: the file must be read again.
    File,
}

/// Collects missing scores by tag.
pub(super) struct Backfill {
    model: ModelId,
    encoder_digest: String,
    always: Vec<(TagId, String)>,
    /// Whether the model looks at the picture itself for every tag.
    needs_images: bool,
    pending: HashMap<TagId, StoredWork>,
    collected: usize,
}

impl Backfill {
    pub(super) fn new(model: ModelId, encoder_digest: &str, always: Vec<(TagId, String)>, needs_images: bool) -> Self {
        let encoder_digest = encoder_digest.to_owned();
        Self { model, encoder_digest, always, needs_images, pending: HashMap::new(), collected: 0 }
    }

    /// Looks at one image. Work that has become large enough is handed to `send`.
    pub(super) fn check(
        &mut self,
        reader: &Store,
        image_id: ImageId,
        mut send: impl FnMut(StoredWork),
    ) -> Result<Needs, StoreError> {
        let scored = reader.scored_tags(image_id, self.model)?;
        let mut lacking: Vec<(TagId, String, Option<TagReason>)> = Vec::new();
        for (tag_id, text) in &self.always {
            if !scored.contains(tag_id) {
                lacking.push((*tag_id, text.clone(), Some(TagReason::Manual)));
            }
        }
        for tag in reader.tags_of_image(image_id)? {
            if !scored.contains(&tag.tag_id) && !lacking.iter().any(|(id, ..)| *id == tag.tag_id) {
                lacking.push((tag.tag_id, tag.text, None));
            }
        }
        if lacking.is_empty() && !scored.is_empty() {
            return Ok(Needs::NoFile);
        }
        let Some(values) = reader.embedding(image_id, &self.encoder_digest)? else { return Ok(Needs::File) };
        if self.needs_images && !lacking.is_empty() {
            return Ok(Needs::File);
        }
        for (tag_id, tag, reason) in lacking {
            let new = || StoredWork { tag, tag_id, reason, images: Vec::new() };
            let work = self.pending.entry(tag_id).or_insert_with(new);
            // Two files of one image ask for the same scores.
            if !work.images.iter().any(|image| image.image_id == image_id) {
                work.images.push(StoredEmbedding { image_id, values: values.clone() });
                self.collected += 1;
            }
            if work.images.len() >= WORK_IMAGES
                && let Some(full) = self.pending.remove(&tag_id)
            {
                self.collected -= full.images.len();
                send(full);
            }
        }
        if self.collected >= MOST_PENDING {
            self.finish().into_iter().for_each(send);
        }
        Ok(Needs::NoFile)
    }

    /// The rest.
    pub(super) fn finish(&mut self) -> Vec<StoredWork> {
        self.collected = 0;
        self.pending.drain().map(|(_, work)| work).collect()
    }
}
