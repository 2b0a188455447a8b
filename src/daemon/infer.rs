//! The inference threads, as many as the device does runs at the same time. New images go before stored ones. Each works for itself: a
//! thread that waited for the others' images would leave its core idle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, never, select};

use crate::store::{ImageId, Stage, Store, StoreError, StoredEmbedding};
use edge_model::image_input::RgbImage;
use edge_model::scorer::{Device, EncodedTag, ImageEmbedding, ImageFeatures, Scored, Scorer, ScorerError};

use super::tagging::{ChosenTag, Tagger};
use super::work::{Candidate, Decoded, FileFailure, NewPicture, Outcome, StoredWork, TagResult};

/// Encoded tags that are kept; keywords of strangers could be any number.
const TAG_CACHE: usize = 4096;

/// The tags that were encoded so far, for all threads; `None` for a text that the model cannot take.
pub(super) type TagCache = Arc<Mutex<HashMap<String, Option<EncodedTag>>>>;

/// What an inference thread holds.
pub(super) struct InferWorker {
    pub(super) scorer: Arc<Scorer>,
    /// The device that the database knows of.
    pub(super) device: Device,
    pub(super) tagger: Arc<Tagger>,
    pub(super) reader: Store,
    pub(super) decoded: Receiver<Decoded>,
    pub(super) stored: Receiver<StoredWork>,
    pub(super) outcomes: Sender<Outcome>,
    pub(super) tag_cache: TagCache,
    /// How many of these threads there are.
    pub(super) workers: usize,
}

impl InferWorker {
    /// Works until both channels have ended, or the writer has. What the model cannot do for one image is that image's
    /// failure and ends nothing; a device that has failed for good ends everything.
    pub(super) fn run(mut self) -> Result<(), ScorerError> {
        match self.work() {
            // The writer's own error says why it ended.
            Ok(()) | Err(End::WriterGone) => Ok(()),
            Err(End::DeviceFailed(error)) => Err(error),
        }
    }

    fn work(&mut self) -> Result<(), End> {
        let (mut decoded_open, mut stored_open) = (true, true);
        let closed = never();
        let closed_stored = never();
        while decoded_open || stored_open {
            // New images first: stored ones wait until nothing new is there.
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

    /// Takes what is waiting along, up to this thread's share of what the device works on at once.
    fn take_decoded(&mut self, first: Decoded) -> Result<(), End> {
        let policy = self.scorer.policy();
        let most = (policy.image_batch * policy.streams).div_ceil(self.workers);
        let mut pictures = Vec::with_capacity(most);
        let waiting = self.decoded.clone();
        for item in std::iter::once(first).chain(waiting.try_iter().take(most - 1)) {
            match item {
                Decoded::New(picture) => pictures.push(picture),
                Decoded::Known { candidate, image_id, keywords } => self.link(candidate, image_id, &keywords)?,
            }
        }
        self.score_pictures(pictures)
    }

    #[expect(clippy::vec_box, reason = "the pictures arrive and go on in boxes")]
    fn score_pictures(&mut self, mut pictures: Vec<Box<NewPicture>>) -> Result<(), End> {
        // The pixels end here: kept along, they would fill the memory with megabytes for every result that waits for its commit.
        let inputs: Vec<_> = pictures.iter_mut().map(|p| std::mem::take(&mut p.picture.square)).collect();
        let scorer = Arc::clone(&self.scorer);
        let images: Vec<Result<ImageFeatures, ScorerError>> = match scorer.embed(&inputs) {
            Ok(images) => images.into_iter().map(Ok).collect(),
            Err(error @ ScorerError::DeviceFailed { .. }) => return Err(End::DeviceFailed(error)),
            // One image must not fail the others of its batch.
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

    /// The tags that an image of the database has already: with a head that looks at the picture itself they must be scored
    /// while it is here.
    fn add_tags_of_known(&self, picture: &NewPicture, chosen: &mut Vec<ChosenTag>) {
        let known = || -> Result<_, StoreError> {
            let Some(image) = self.reader.image_by_content(&picture.content_id)? else { return Ok(Vec::new()) };
            self.reader.tags_of_image(image.image_id)
        };
        let tags = known().unwrap_or_else(|error| {
            log::warn!("{}: cannot look up its tags: {error}", picture.candidate.path.display());
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
            log::warn!("{}: cannot read the stored embedding: {error}", candidate.path.display());
            None
        }) else {
            // The row went away or cannot be read now; a later look comes back to the file.
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
            // An image whose only keywords are too long for the model must be found under something.
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

    /// The tag's embedding; `None` for a text that the model cannot take, which is said once.
    fn encoded(&mut self, text: &str) -> Result<Option<EncodedTag>, ScorerError> {
        // Held meanwhile: two threads that meet a new tag together encode it once and say once what is to be said of it.
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
                log::warn!("nothing is scored under the tag {text:?}: {error}");
                None
            }
            Err(other) => return Err(other),
        };
        if cache.len() >= TAG_CACHE {
            cache.clear();
        }
        cache.insert(text.to_owned(), encoded.clone());
        Ok(encoded)
    }

    /// What cannot be scored now still lacks its score, so the next start asks again.
    fn score_stored(&mut self, work: StoredWork) -> Result<(), End> {
        let tag = match self.encoded(&work.tag) {
            Ok(Some(tag)) => tag,
            Ok(None) => return Ok(()),
            Err(error @ ScorerError::DeviceFailed { .. }) => return Err(End::DeviceFailed(error)),
            Err(error) => {
                log::warn!("{} stored images are not scored under {:?}: {error}", work.images.len(), work.tag);
                return Ok(());
            }
        };
        let stored = |image: StoredEmbedding| (image.image_id, ImageFeatures::from(ImageEmbedding(image.values)));
        let (ids, images): (Vec<_>, Vec<_>) = work.images.into_iter().map(stored).unzip();
        let pairs: Vec<_> = images.iter().map(|image| (image, &tag)).collect();
        let scored = ids.into_iter().zip(self.scorer.score_each(&pairs).map_err(End::DeviceFailed)?);
        let usable = |(id, scored): (ImageId, Result<Scored, ScorerError>)| {
            let warn = |error: &_| log::warn!("a stored image is not scored under {:?}: {error}", work.tag);
            Some((id, scored.inspect_err(warn).ok()?))
        };
        let scores = scored.filter_map(usable).collect();
        self.send(Outcome::Backfilled { tag_id: work.tag_id, reason: work.reason, scores })
    }

    /// The image's failure, unless it is none of its own: then it is found again by the next start.
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

/// Why there is nothing more to do.
enum End {
    /// The writer has ended, after a failure of its own.
    WriterGone,
    /// No device is left to work on.
    DeviceFailed(ScorerError),
}

fn embed_one(scorer: &Scorer, input: &RgbImage) -> Result<ImageFeatures, ScorerError> {
    let mut images = scorer.embed(std::slice::from_ref(input))?;
    images.pop().ok_or(ScorerError::NotFinite("the image embedding"))
}
