//! Images and tags in, quality scores out.
//!
//! Joins [`crate::bundle`], [`crate::backend`], [`crate::image_input`] and [`crate::text`]. Stateless: it knows neither
//! database nor directories, so that an engine of any kind can spread it over machines.

mod engine;
mod failover;
#[cfg(test)]
mod faults;
mod head;
mod known_answer;
mod replay;
mod sides;
mod vocabulary;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

pub use sides::{EncodedTag, ImageEmbedding, ImageFeatures, TagTokens};
pub use vocabulary::ForeignTag;

use crate::backend::{BackendError, DeviceChoice, OperatorTime, Policy, Precision, Setup};
use crate::bundle::{Bundle, BundleError, Manifest, Replay};
use crate::image_input::{self, ImageError, Limits, Picture, RgbImage};
use crate::text::TextError;
use engine::Model;
use failover::Failover;

/// Why a model cannot be used, or an encoding failed.
#[derive(Debug, thiserror::Error)]
pub enum ScorerError {
    /// The bundle was refused.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The device was refused or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A tag cannot be encoded.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A golden image cannot be decoded.
    #[error("golden image {name}: {source}")]
    GoldenImage {
        /// The file.
        name: String,
        /// Why.
        source: ImageError,
    },
    /// A graph answers in another shape than the manifest states.
    #[error(
        "{graph} answers with the shape {found:?} where {expected:?} was expected: graph and manifest do not belong together"
    )]
    Shape {
        /// The graph's file name.
        graph: &'static str,
        /// What it answered.
        found: Vec<usize>,
        /// What the manifest leads to expect.
        expected: Vec<usize>,
    },
    /// The head looks at the image's patches and was given a stored embedding only.
    #[error(
        "this model looks at the picture itself for every tag, a stored embedding is not enough: give the tag before the \
         pictures are scored (--tag, or [tags] always in the configuration)"
    )]
    NeedsImage,
    /// A device does not know any more what it knew when it was proved.
    #[error(
        "{device} answers wrongly: what {graph} says of a known input is off by {difference:.3e}, {allowed:.3e} is allowed"
    )]
    WrongAnswer {
        /// The graph's file name.
        graph: &'static str,
        /// The device.
        device: &'static str,
        /// Largest difference, as in the goldens' tolerance.
        difference: f32,
        /// What the tolerance allows.
        allowed: f32,
    },
    /// The device that was insisted on failed twice, or the CPU could not take over.
    #[error("{device} has failed and nothing may take its place: {reason}")]
    DeviceFailed {
        /// The device.
        device: &'static str,
        /// How it failed.
        reason: String,
    },
    /// A score or an embedding is NaN or infinite.
    #[error("{0} is not finite: the model cannot judge this input, nothing is recorded for it")]
    NotFinite(&'static str),
}

impl ScorerError {
    /// Whether the device may be at fault, so that another one could do what this one did not.
    fn may_be_the_devices(&self) -> bool {
        matches!(self, Self::Backend(_) | Self::WrongAnswer { .. } | Self::NotFinite(_))
    }
}

/// Where a model works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name: `cpu`, `cuda`.
    pub name: &'static str,
    /// What it computes in.
    pub precision: Precision,
    /// Why this one.
    pub reason: String,
}

/// Such as `cuda in f16 (asked for)`.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} ({})", self.name, self.precision, self.reason)
    }
}

/// The answer for an (image, tag) pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Quality score on the bundle's scale.
    pub score: f32,
    /// Cosine of image and text embedding, -1..=1.
    pub similarity: f32,
    /// Share of the tag's reference scores below, 0..=100; `None` where the bundle has no calibration.
    pub percentile: Option<f32>,
}

/// A proved model on a device.
///
/// ```no_run
/// use std::path::Path;
/// use edge_model::{backend::DeviceChoice, image_input::Limits, scorer::Scorer};
///
/// let scorer = Scorer::open(Path::new("models/small"), DeviceChoice::Auto)?;
/// let tags = [scorer.encode_tag("a mountain lake")?, scorer.encode_tag("portrait")?];
/// let bytes = std::fs::read("photo.jpg")?;
/// let picture = scorer.decode(&bytes, &Limits::default())?;
/// let image = scorer.embed(&[scorer.square(&picture)])?.remove(0);
/// for (tag, scored) in tags.iter().zip(scorer.score(&image, &tags)?) {
///     println!("{}: {:.2}", tag.tag, scored.score);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scorer {
    model: Arc<Model>,
    failover: Failover,
    /// The vocabulary, encoded when it is first asked for.
    known_tags: OnceLock<Vec<EncodedTag>>,
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scorer({} on {})", self.bundle().dir().display(), self.device().name)
    }
}

impl Scorer {
    /// Like [`Scorer::open_in`], in 32 bits and without a cache.
    ///
    /// # Errors
    /// [`ScorerError`], with what to do next.
    pub fn open(dir: &Path, choice: DeviceChoice) -> Result<Self, ScorerError> {
        Self::open_in(dir, choice, &Setup::default())
    }

    /// Opens the bundle in `dir`, prepares its graphs on the chosen device and replays the goldens there. A device on which
    /// they drift is refused; with [`DeviceChoice::Auto`] the next one is tried and the reason kept. With it, too, a device that
    /// fails at work is left for the CPU: see [`Scorer::device`].
    ///
    /// # Errors
    /// [`ScorerError`], with what to do next.
    pub fn open_in(dir: &Path, choice: DeviceChoice, setup: &Setup) -> Result<Self, ScorerError> {
        let model = Arc::new(Model::open(dir)?);
        Ok(Self { failover: Failover::open(&model, choice, setup)?, model, known_tags: OnceLock::new() })
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &Manifest {
        self.model.manifest()
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.model.bundle
    }

    /// The model digest that belongs to every score of this scorer.
    pub fn digest(&self) -> &str {
        self.bundle().digest()
    }

    /// See [`Bundle::encoder_digest`].
    pub fn encoder_digest(&self) -> &str {
        &self.model.encoder_digest
    }

    /// The device in use; another one after a failure.
    pub fn device(&self) -> Device {
        let engine = self.failover.engine();
        Device { name: engine.device(), precision: engine.backend.precision(), reason: engine.reason.clone() }
    }

    /// How the device in use likes its work.
    pub fn policy(&self) -> Policy {
        self.failover.engine().policy()
    }

    /// How far the replayed goldens were off when the device in use was proved.
    pub fn replay(&self) -> Replay {
        self.failover.engine().replay
    }

    /// Decodes an image with just the resolution that the model needs.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn decode(&self, bytes: &[u8], limits: &Limits) -> Result<Picture, ImageError> {
        image_input::decode_reduced(bytes, limits, &self.manifest().image_input)
    }

    /// What the image encoder sees of a picture: S x S pixels, which are normalised on their way into its input.
    pub fn square(&self, picture: &Picture) -> RgbImage {
        image_input::square(picture, &self.manifest().image_input)
    }

    /// Embeds images (see [`Scorer::square`]), in their order, on as many threads as the device's policy allows.
    ///
    /// # Errors
    /// [`ScorerError::Backend`], [`ScorerError::Shape`], [`ScorerError::NotFinite`], [`ScorerError::DeviceFailed`]; then none of
    /// them has an embedding.
    pub fn embed(&self, squares: &[RgbImage]) -> Result<Vec<ImageFeatures>, ScorerError> {
        self.failover.attempt(|engine| {
            let encoded = engine.encode_images(squares)?;
            encoded.into_iter().map(engine::EncodedImage::into_features).collect()
        })
    }

    /// How long each operator of the image encoder takes for one image; empty on a device that does not tell.
    ///
    /// # Errors
    /// As for [`Scorer::embed`].
    pub fn profile(&self, square: &RgbImage) -> Result<Vec<OperatorTime>, ScorerError> {
        self.failover.attempt(|engine| engine.profile(square))
    }

    /// Encodes a tag: white space folded, template applied, tokens padded, text encoder run.
    ///
    /// # Errors
    /// [`ScorerError::Text`] for a tag that is empty or too long, else as for [`Scorer::embed`].
    pub fn encode_tag(&self, tag: &str) -> Result<EncodedTag, ScorerError> {
        let tag = crate::text::normalise_tag(tag);
        let ids = self.model.tag_ids(&tag)?;
        self.failover.attempt(|engine| engine.encode_ids(&tag, &ids))
    }

    /// Encodes a prompt as it stands, without the manifest's template; it stands for the tag in the answer.
    ///
    /// # Errors
    /// As for [`Scorer::encode_tag`].
    pub fn encode_prompt(&self, prompt: &str) -> Result<EncodedTag, ScorerError> {
        let ids = self.model.tokenizer.encode(prompt, Some(prompt))?;
        self.failover.attempt(|engine| engine.encode_ids(prompt, &ids))
    }
}

fn finite<'a>(mut values: impl Iterator<Item = &'a f32>, what: &'static str) -> Result<(), ScorerError> {
    if values.all(|v| v.is_finite()) { Ok(()) } else { Err(ScorerError::NotFinite(what)) }
}
