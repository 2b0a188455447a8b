//! Scores images under tags.
//!
//! Combines [`crate::bundle`], [`crate::backend`], [`crate::image_input`] and [`crate::text`]. It knows neither a database nor
//! directories of images, and no call depends on the calls before it.
//!
//! The modules in the order of their imports (each uses only those before it): `error`, `model`, `encoded`, `known_answer`,
//! `device_model`, `head`, `replay`, `failover`, `vocabulary`.

mod device_model;
mod encoded;
mod error;
mod failover;
#[cfg(test)]
mod faults;
mod head;
mod known_answer;
mod model;
mod replay;
mod vocabulary;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

pub use encoded::{EncodedTag, ImageEmbedding, ImageFeatures, Scored, TagTokens};
pub use error::ScorerError;
pub use vocabulary::UnknownTag;

use crate::backend::{BackendOptions, DeviceChoice, OperatorTime, Policy, Precision};
use crate::bundle::manifest::ImageSide;
use crate::bundle::{Bundle, Manifest, Replay};
use crate::image_input::{self, ImageError, Limits, Picture, RgbImage};
use encoded::UnroundedImage;
use failover::Failover;
use head::Pair;
use model::Model;
use vocabulary::words_of;

/// The device that a model runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Name of the device: `cpu` or `cuda`.
    pub name: &'static str,
    /// Precision of the matrix products, such as `f32`.
    pub precision: Precision,
    /// Why this device was chosen.
    pub reason: String,
}

/// Formats a device as, for example, `cuda in f16 (asked for)`.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} ({})", self.name, self.precision, self.reason)
    }
}

/// A model on a device that reproduced the bundle's goldens within the tolerance.
///
/// ```no_run
/// use std::path::Path;
/// use edge_model::{backend::DeviceChoice, image_input::Limits, scorer::Scorer};
///
/// let scorer = Scorer::open(Path::new("models/small"), DeviceChoice::Auto)?;
/// let tags = [scorer.encode_tag("a mountain lake")?, scorer.encode_tag("portrait")?];
/// let bytes = std::fs::read("photo.jpg")?;
/// let picture = scorer.decode(&bytes, &Limits::default())?;
/// let image = scorer.embed(&[scorer.encoder_input(&picture)])?.remove(0);
/// for (tag, scored) in tags.iter().zip(scorer.score(&image, &tags)?) {
///     println!("{}: {:.2}", tag.tag, scored.score);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scorer {
    model: Arc<Model>,
    failover: Failover,
    /// The encoded vocabulary; filled at first use.
    known_tags: OnceLock<Vec<EncodedTag>>,
    /// The words of the vocabulary; filled at first use.
    known_words: OnceLock<HashSet<String>>,
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scorer({} on {})", self.bundle().dir().display(), self.device().name)
    }
}

impl Scorer {
    /// Opens a bundle like [`Scorer::open_in`], in f32 and without a cache.
    ///
    /// # Errors
    /// The same as [`Scorer::open_in`].
    pub fn open(dir: &Path, choice: DeviceChoice) -> Result<Self, ScorerError> {
        Self::open_in(dir, choice, &BackendOptions::default())
    }

    /// Opens the bundle in `dir`, prepares its graphs on the chosen device and replays the goldens there. A device whose outputs
    /// differ from the goldens by more than the tolerance is refused.
    ///
    /// With [`DeviceChoice::Auto`], the CPU replaces a device that is refused or that fails later. [`Scorer::device`] states the
    /// reason.
    ///
    /// # Errors
    /// Every [`ScorerError`] that concerns the bundle or the device. The message says what to do next.
    pub fn open_in(dir: &Path, choice: DeviceChoice, options: &BackendOptions) -> Result<Self, ScorerError> {
        let model = Arc::new(Model::open(dir)?);
        let failover = Failover::open(&model, choice, options)?;
        Ok(Self { failover, model, known_tags: OnceLock::new(), known_words: OnceLock::new() })
    }

    /// The manifest of the opened bundle.
    pub fn manifest(&self) -> &Manifest {
        self.model.manifest()
    }

    /// The opened bundle: its files, manifest and digests.
    pub fn bundle(&self) -> &Bundle {
        &self.model.bundle
    }

    /// The model digest, which is stored with every score.
    pub fn digest(&self) -> &str {
        self.bundle().digest()
    }

    /// The encoder digest, which is stored with every image embedding; see [`Bundle::encoder_digest`].
    pub fn encoder_digest(&self) -> &str {
        &self.model.encoder_digest
    }

    /// The device in use. It changes when the device fails and the CPU takes over.
    pub fn device(&self) -> Device {
        let current = self.failover.current();
        Device { name: current.device(), precision: current.backend.precision(), reason: current.reason.clone() }
    }

    /// The policy of the device in use: images per run, number of streams and need of known answers.
    pub fn policy(&self) -> Policy {
        self.failover.current().policy()
    }

    /// The largest differences between the goldens and the outputs of the device in use, measured when the device was proved.
    pub fn replay(&self) -> Replay {
        self.failover.current().replay
    }

    /// Decodes an image at the resolution that the model needs.
    ///
    /// # Errors
    /// See [`image_input::decode_reduced`].
    pub fn decode(&self, bytes: &[u8], limits: &Limits) -> Result<Picture, ImageError> {
        image_input::decode_reduced(bytes, limits, &self.manifest().image_input)
    }

    /// Makes the image encoder's input before normalisation from a decoded image; see [`image_input::InputRule`].
    pub fn encoder_input(&self, picture: &Picture) -> RgbImage {
        image_input::encoder_input(picture, &self.manifest().image_input)
    }

    /// Encodes images, given as inputs of the encoder (see [`Scorer::encoder_input`]), on as many threads as the device's policy allows. Returns the results
    /// in the order of the images.
    ///
    /// # Errors
    /// [`ScorerError::Backend`], [`ScorerError::Shape`], [`ScorerError::NotFinite`], [`ScorerError::DeviceFailed`]. An error concerns
    /// the whole call: no image is encoded.
    pub fn embed(&self, inputs: &[RgbImage]) -> Result<Vec<ImageFeatures>, ScorerError> {
        self.failover.attempt(|on_device| {
            on_device.encode_images(inputs)?.into_iter().map(UnroundedImage::into_features).collect()
        })
    }

    /// Measures the time that each operator of the image encoder takes for one image. The list is empty if the device does not report
    /// operator times.
    ///
    /// # Errors
    /// The same as [`Scorer::embed`].
    pub fn profile(&self, input: &RgbImage) -> Result<Vec<OperatorTime>, ScorerError> {
        self.failover.attempt(|on_device| on_device.profile(input))
    }

    /// Encodes a tag: folds white space, applies the template, pads the tokens and runs the text encoder.
    ///
    /// # Errors
    /// [`ScorerError::Text`] for a tag that is empty or too long, and those of [`Scorer::embed`].
    pub fn encode_tag(&self, tag: &str) -> Result<EncodedTag, ScorerError> {
        let tag = crate::text::normalise_tag(tag);
        let ids = self.model.tag_ids(&tag)?;
        self.failover.attempt(|on_device| on_device.encode_ids(&tag, &ids))
    }

    /// Encodes a prompt without the manifest's template. The prompt is also the tag of the result.
    ///
    /// # Errors
    /// The same as [`Scorer::encode_tag`].
    pub fn encode_prompt(&self, prompt: &str) -> Result<EncodedTag, ScorerError> {
        let ids = self.model.tokenizer.encode(prompt, Some(prompt))?;
        self.failover.attempt(|on_device| on_device.encode_ids(prompt, &ids))
    }

    /// Whether scoring a new tag needs the image files. It does if the head reads patch tokens, which are not stored.
    pub fn needs_images(&self) -> bool {
        self.manifest().head.image_side == ImageSide::PatchTokens
    }

    /// Scores one image under several tags. Returns the scores in the order of the tags.
    ///
    /// # Errors
    /// The same as [`Scorer::score_pairs`].
    pub fn score(&self, image: &ImageFeatures, tags: &[EncodedTag]) -> Result<Vec<Scored>, ScorerError> {
        let pairs: Vec<_> = tags.iter().map(|tag| (image, tag)).collect();
        self.score_pairs(&pairs)
    }

    /// Scores (image, tag) pairs. Returns the scores in the order of the pairs. Stored embeddings are enough unless
    /// [`Scorer::needs_images`] returns true.
    ///
    /// # Errors
    /// [`ScorerError::NeedsImage`], [`ScorerError::Backend`], [`ScorerError::Shape`], [`ScorerError::NotFinite`],
    /// [`ScorerError::DeviceFailed`].
    pub fn score_pairs(&self, pairs: &[Pair<'_>]) -> Result<Vec<Scored>, ScorerError> {
        self.failover.attempt(|on_device| on_device.score_pairs(pairs))
    }

    /// Scores pairs like [`Scorer::score_pairs`], with a result for each pair: a pair that fails does not fail the others.
    ///
    /// # Errors
    /// [`ScorerError::DeviceFailed`] only. Every other error is in the result of its pair.
    pub fn score_each(&self, pairs: &[Pair<'_>]) -> Result<Vec<Result<Scored, ScorerError>>, ScorerError> {
        match self.score_pairs(pairs) {
            Ok(scored) => Ok(scored.into_iter().map(Ok).collect()),
            Err(error @ ScorerError::DeviceFailed { .. }) => Err(error),
            Err(_) => Ok(pairs.iter().map(|pair| self.score_pairs(&[*pair]).map(|scored| scored[0])).collect()),
        }
    }

    /// Describes a tag that the model does not know. `None` for tags of the vocabulary. A model with an open vocabulary knows all tags; if
    /// it knows whole words only, all tags of such words. For a closed vocabulary, the first unknown tag costs a run of the text encoder for every tag of the vocabulary.
    ///
    /// # Errors
    /// The same as [`Scorer::encode_tag`].
    pub fn unknown_tag(&self, tag: &EncodedTag) -> Result<Option<UnknownTag>, ScorerError> {
        let manifest = self.manifest();
        if manifest.tag(&tag.tag).is_some() {
            return Ok(None);
        }
        if manifest.open_vocabulary {
            if !manifest.text_input.whole_words {
                return Ok(None);
            }
            let known = self.known_words.get_or_init(|| words_of(manifest.tags.iter().map(|tag| tag.text.as_str())));
            let divided = self.model.tokenizer.divided_words(&tag.tag);
            return Ok(UnknownTag::with_words(&tag.tag, divided, known));
        }
        let known = match self.known_tags.get() {
            Some(known) => known,
            None => {
                let known = manifest.tags.iter().map(|t| self.encode_tag(&t.text)).collect::<Result<Vec<_>, _>>()?;
                self.known_tags.get_or_init(|| known)
            }
        };
        Ok(Some(UnknownTag::new(tag, known)))
    }

    /// Logs a warning if the model was not trained on a tag. A failure of the check itself is logged at debug level.
    pub fn warn_if_unknown(&self, tag: &EncodedTag) {
        match self.unknown_tag(tag) {
            Ok(None) => {}
            Ok(Some(unknown)) => log::warn!("{unknown}"),
            Err(error) => log::debug!("cannot compare the tag {:?} with the vocabulary: {error}", tag.tag),
        }
    }
}
