//! The inference threads, one for each stream of the device. New images are processed before stored embeddings. Each thread has its own
//! batches: with shared batches, a thread that waits for images of other threads would leave its core idle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, never, select};

use crate::store::{ImageId, Stage, Store, StoreError, StoredEmbedding};
use edge_model::image_input::RgbImage;
use edge_model::scorer::{Device, EncodedTag, ImageEmbedding, ImageFeatures, Scored, Scorer, ScorerError};

use super::tagging::{ChosenTag, Tagger};
use super::work::{Candidate, Decoded, NewPicture, Outcome, StoredWork, TagResult};
use crate::decoder::FileFailure;

/// Largest number of cached tags. Images from outside can contain any number of different keywords.
const MAX_CACHED_TAGS: usize = 4096;

/// Encoded tags, shared by all inference threads. `None` marks a text that the model cannot encode.
pub(super) type TagCache = Arc<Mutex<HashMap<String, Option<EncodedTag>>>>;

/// The state of an inference thread.
pub(super) struct InferWorker {
    pub(super) scorer: Arc<Scorer>,
    /// The device that this thread last reported to the writer; at first the device that is recorded in the database.
    pub(super) device: Device,
    pub(super) tagger: Arc<Tagger>,
    pub(super) reader: Store,
    pub(super) decoded: Receiver<Decoded>,
    pub(super) stored: Receiver<StoredWork>,
    pub(super) outcomes: Sender<Outcome>,
    pub(super) tag_cache: TagCache,
    /// Number of inference threads.
    pub(super) workers: usize,
}

impl InferWorker {
    /// Runs until both input channels are closed or the writer has ended. A model error on one image is recorded as a failure of that
    /// image. A permanent device failure ends the thread with an error.
    pub(super) fn run(mut self) -> Result<(), ScorerError> {
        match self.work() {
            // The writer returns its own error.
            Ok(()) | Err(End::WriterGone) => Ok(()),
            Err(End::DeviceFailed(error)) => Err(error),
        }
    }

    fn work(&mut self) -> Result<(), End> {
        let (mut decoded_open, mut stored_open) = (true, true);
        let closed = never();
        let closed_stored = never();
        while decoded_open || stored_open {
            // Stored embeddings are processed only when no new image is queued.
            if let Ok(first) = self.decoded.try_recv() {
                self.take_decoded(first)?;
                continue;
            }
            let decoded = if decoded_open { self.decoded.clone() } else { closed.clone() };
            let stored = if stored_open { self.stored.clone() } else { closed_stored.clone() };
            select! {
                recv(decoded) -> message => match message {
                    Ok(first) => self.take_decoded(first)?,
                    Err(_) => decoded_open = false,
                },
                recv(stored) -> message => match message {
                    Ok(work) => self.score_stored(work)?,
                    Err(_) => stored_open = false,
                },
            }
        }
        Ok(())
    }

    /// Scores a picture together with queued ones. The batch is at most this thread's share of the images that the device runs at once.
    fn take_decoded(&mut self, first: Decoded) -> Result<(), End> {
        let policy = self.scorer.policy();
        let batch_size = (policy.image_batch * policy.streams).div_ceil(self.workers);
        let mut pictures = Vec::with_capacity(batch_size);
        let waiting = self.decoded.clone();
        for item in std::iter::once(first).chain(waiting.try_iter().take(batch_size - 1)) {
            match item {
                Decoded::New(picture) => pictures.push(picture),
                Decoded::Known { candidate, image_id, keywords } => self.link(candidate, image_id, &keywords)?,
            }
        }
        self.score_pictures(pictures)
    }

    #[expect(clippy::vec_box, reason = "the pictures arrive and go on in boxes")]
    fn score_pictures(&mut self, mut pictures: Vec<Box<NewPicture>>) -> Result<(), End> {
        // Frees the pixels early. Otherwise each result that waits for its commit would keep its pixels in memory.
        let inputs: Vec<_> = pictures.iter_mut().map(|p| std::mem::take(&mut p.picture.input)).collect();
        let scorer = Arc::clone(&self.scorer);
        let images: Vec<Result<ImageFeatures, ScorerError>> = match scorer.embed(&inputs) {
            Ok(images) => images.into_iter().map(Ok).collect(),
            Err(error @ ScorerError::DeviceFailed { .. }) => return Err(End::DeviceFailed(error)),
            // An error of one image must not fail the other images of its batch, so each image is embedded alone.
            Err(_) if inputs.len() > 1 => inputs.iter().map(|input| embed_one(&scorer, input)).collect(),
            Err(error) => vec![Err(error)],
        };
        for (picture, image) in pictures.into_iter().zip(images) {
            match image {
                Ok(image) => self.score_picture(picture, image)?,
                Err(error) => self.fail(picture.candidate, error)?,
            }
        }
        Ok(())
    }

    fn score_picture(&mut self, picture: Box<NewPicture>, image: ImageFeatures) -> Result<(), End> {
        let mut chosen =
            self.tagger.choose(&picture.candidate.path, &picture.picture.facts.metadata.keywords, &image.embedding);
        if self.scorer.needs_images() {
            self.add_tags_of_known(&picture, &mut chosen);
        }
        match self.score_tags(&image, chosen) {
            Ok(tags) => self.send(Outcome::Scored { picture, embedding: image.embedding.0, tags }),
            Err(error) => self.fail(picture.candidate, error),
        }
    }

    /// Adds the tags that the image already has in the database. A head that needs image features can score them only while the picture
    /// is available.
    fn add_tags_of_known(&self, picture: &NewPicture, chosen: &mut Vec<ChosenTag>) {
        let known = || -> Result<_, StoreError> {
            let Some(image) = self.reader.image_by_content(&picture.content_id)? else { return Ok(Vec::new()) };
            self.reader.tags_of_image(image.image_id)
        };
        let tags = known().unwrap_or_else(|error| {
            let path = picture.candidate.path.display();
            log::warn!(
                "{path}: the tags that the database has for this image cannot be read: {error}. The image is scored \
                 under its other tags only"
            );
            Vec::new()
        });
        for tag in tags {
            if !chosen.iter().any(|c| c.text.eq_ignore_ascii_case(&tag.text)) {
                chosen.push(ChosenTag { text: tag.text, reason: tag.reason, confidence: tag.confidence });
            }
        }
    }

    fn link(&mut self, candidate: Candidate, image: ImageId, keywords: &[String]) -> Result<(), End> {
        let embedding = self.reader.embedding(image, self.scorer.encoder_digest());
        let Some(values) = embedding.unwrap_or_else(|error| {
            log::warn!(
                "{}: the stored embedding cannot be read: {error}. The file is tried again later",
                candidate.path.display()
            );
            None
        }) else {
            // The row was deleted or cannot be read now. The file is looked at again later.
            return self.send(Outcome::Dropped { candidate, again: true });
        };
        let stored = ImageFeatures::from(ImageEmbedding(values));
        let chosen = self.tagger.choose(&candidate.path, keywords, &stored.embedding);
        match self.score_tags(&stored, chosen) {
            Ok(tags) => self.send(Outcome::Linked { candidate, image_id: image, tags }),
            Err(error) => self.fail(candidate, error),
        }
    }

    fn score_tags(&mut self, image: &ImageFeatures, chosen: Vec<ChosenTag>) -> Result<Vec<TagResult>, ScorerError> {
        let (mut kept, mut encoded) = self.encode_all(chosen)?;
        if kept.is_empty() {
            // If the model can encode none of the tags, the image gets the default tags so that it has at least one score.
            (kept, encoded) = self.encode_all(self.tagger.defaults())?;
        }
        let scored = self.scorer.score(image, &encoded)?;
        let join = |(tag, scored): (ChosenTag, _)| TagResult {
            text: tag.text,
            reason: tag.reason,
            confidence: tag.confidence,
            scored,
        };
        Ok(kept.into_iter().zip(scored).map(join).collect())
    }

    fn encode_all(&mut self, chosen: Vec<ChosenTag>) -> Result<(Vec<ChosenTag>, Vec<EncodedTag>), ScorerError> {
        let (mut kept, mut encoded) = (Vec::with_capacity(chosen.len()), Vec::with_capacity(chosen.len()));
        for tag in chosen {
            if let Some(known) = self.encoded(&tag.text)? {
                encoded.push(known);
                kept.push(tag);
            }
        }
        Ok((kept, encoded))
    }

    /// Returns the encoded tag, or `None` if the model cannot encode the text. Logs a warning the first time that a text is
    /// unknown to the model or cannot be encoded.
    fn encoded(&mut self, text: &str) -> Result<Option<EncodedTag>, ScorerError> {
        // The lock is held during encoding, so that a new tag is encoded once and its warning is logged once.
        let mut cache = self.tag_cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cache.get(text) {
            return Ok(known.clone());
        }
        let encoded = match self.scorer.encode_tag(text) {
            Ok(encoded) => {
                self.scorer.warn_if_unknown(&encoded);
                Some(encoded)
            }
            Err(error @ (ScorerError::Text(_) | ScorerError::NotFinite(_))) => {
                log::warn!("the model cannot encode the tag {text:?}, so no image is scored under it: {error}");
                None
            }
            Err(other) => return Err(other),
        };
        if cache.len() >= MAX_CACHED_TAGS {
            cache.clear();
        }
        cache.insert(text.to_owned(), encoded.clone());
        Ok(encoded)
    }

    /// Scores stored embeddings. Scores that cannot be computed now stay missing and are requested again at the next start.
    fn score_stored(&mut self, work: StoredWork) -> Result<(), End> {
        let tag = match self.encoded(&work.tag) {
            Ok(Some(tag)) => tag,
            Ok(None) => return Ok(()),
            Err(error @ ScorerError::DeviceFailed { .. }) => return Err(End::DeviceFailed(error)),
            Err(error) => {
                let count = work.images.len();
                log::warn!(
                    "{count} known images cannot be scored under the tag {:?} now: {error}. The next start tries again",
                    work.tag
                );
                return Ok(());
            }
        };
        let stored = |image: StoredEmbedding| (image.image_id, ImageFeatures::from(ImageEmbedding(image.values)));
        let (ids, images): (Vec<_>, Vec<_>) = work.images.into_iter().map(stored).unzip();
        let pairs: Vec<_> = images.iter().map(|image| (image, &tag)).collect();
        let scored = ids.into_iter().zip(self.scorer.score_each(&pairs).map_err(End::DeviceFailed)?);
        let usable = |(id, scored): (ImageId, Result<Scored, ScorerError>)| {
            let warn = |error: &_| {
                let (id, tag) = (id.0, &work.tag);
                log::warn!("image {id} of the database gets no score under the tag {tag:?}: {error}");
            };
            Some((id, scored.inspect_err(warn).ok()?))
        };
        let scores = scored.filter_map(usable).collect();
        self.send(Outcome::Backfilled { tag_id: work.tag_id, reason: work.reason, scores })
    }

    /// Records a failure of one image. Returns a device failure as an error; the image is then scored after the next start.
    fn fail(&mut self, candidate: Candidate, error: ScorerError) -> Result<(), End> {
        if let ScorerError::DeviceFailed { .. } = error {
            return Err(End::DeviceFailed(error));
        }
        let failure = FileFailure { stage: Stage::Infer, error: error.to_string() };
        self.send(Outcome::Failed { candidate, failure })
    }

    fn send(&mut self, outcome: Outcome) -> Result<(), End> {
        let device = self.scorer.device();
        if device != self.device {
            self.device = device.clone();
            self.outcomes.send(Outcome::Device(device)).map_err(|_| End::WriterGone)?;
        }
        self.outcomes.send(outcome).map_err(|_| End::WriterGone)
    }
}

/// Why an inference thread ends early.
enum End {
    /// The writer has ended because of its own failure.
    WriterGone,
    /// The device failed, and no other device is left.
    DeviceFailed(ScorerError),
}

fn embed_one(scorer: &Scorer, input: &RgbImage) -> Result<ImageFeatures, ScorerError> {
    let mut images = scorer.embed(std::slice::from_ref(input))?;
    images.pop().ok_or(ScorerError::NotFinite("the image embedding"))
}
