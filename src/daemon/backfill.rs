//! Collects the missing scores of known images. Scores are missing after a tag was added to the configuration, or after a new model with
//! the same encoder replaced the old one. They are computed from stored embeddings, without the files.

use std::collections::HashMap;

use crate::store::{ImageId, ModelId, Store, StoreError, StoredEmbedding, TagId, TagReason};

use super::work::StoredWork;

/// Largest number of embeddings in one message, enough for one run of the head.
const WORK_IMAGES: usize = 256;
/// Largest number of collected embeddings over all tags. It bounds the memory even with thousands of rare tags.
const MAX_PENDING: usize = 4096;

/// Whether the missing scores of an image need its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// No scores are missing, or they can be computed from the stored embedding and have been collected.
    NoFile,
    /// The file must be read again: the stored embedding is from another encoder, or the model's head needs image features.
    File,
}

/// Collects the stored embeddings of images with missing scores, by tag.
pub(super) struct Backfill {
    model: ModelId,
    encoder_digest: String,
    always: Vec<(TagId, String)>,
    /// Whether the model's head needs image features, which are not stored.
    needs_images: bool,
    pending: HashMap<TagId, StoredWork>,
    collected: usize,
}

impl Backfill {
    pub(super) fn new(model: ModelId, encoder_digest: &str, always: Vec<(TagId, String)>, needs_images: bool) -> Self {
        let encoder_digest = encoder_digest.to_owned();
        Self { model, encoder_digest, always, needs_images, pending: HashMap::new(), collected: 0 }
    }

    /// Adds an image to the work of every tag under which it lacks a score, unless its scores need the file. The work of a tag goes to `send`
    /// as soon as it holds [`WORK_IMAGES`] images.
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
            // Two files with the same image lack the same scores.
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
        if self.collected >= MAX_PENDING {
            self.finish().into_iter().for_each(send);
        }
        Ok(Needs::NoFile)
    }

    /// Returns the collected work that was not passed to `send`.
    pub(super) fn finish(&mut self) -> Vec<StoredWork> {
        self.collected = 0;
        self.pending.drain().map(|(_, work)| work).collect()
    }
}
