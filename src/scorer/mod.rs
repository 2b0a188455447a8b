//! Images and tags in, quality scores out.
//!
//! Joins [`crate::bundle`], [`crate::backend`], [`crate::image_input`] and [`crate::text`]. Stateless: it knows neither
//! database nor directories, so that an engine of any kind can spread it over machines.

mod head;
mod replay;
mod sides;

use std::path::Path;

use ndarray::{Array1, Array2, Array3, ArrayD, Axis, IxDyn, stack};

pub use sides::{EncodedTag, ImageEmbedding, ImageFeatures, TagTokens};

use crate::backend::choice::first_accepted;
use crate::backend::{Backend, BackendError, Batch, Chosen, DeviceChoice, Graph, Input, Policy};
use crate::bundle::manifest::{TextSide, file};
use crate::bundle::{Bundle, BundleError, Manifest, Replay};
use crate::image_input::{self, ImageError, Limits, Picture};
use crate::text::{TagTokenizer, TextError};

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
    /// A score or an embedding is NaN or infinite.
    #[error("{0} is not finite: the model cannot judge this input, nothing is recorded for it")]
    NotFinite(&'static str),
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
/// use edge_scorer::{backend::DeviceChoice, image_input::Limits, scorer::Scorer};
///
/// let scorer = Scorer::open(Path::new("models/small"), DeviceChoice::Auto)?;
/// let tags = [scorer.encode_tag("a mountain lake")?, scorer.encode_tag("portrait")?];
/// let bytes = std::fs::read("photo.jpg")?;
/// let picture = scorer.decode(&bytes, &Limits::default())?;
/// let image = scorer.embed(&[scorer.pixel_values(&picture)])?.remove(0);
/// for (tag, scored) in tags.iter().zip(scorer.score(&image, &tags)?) {
///     println!("{}: {:.2}", tag.tag, scored.score);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scorer {
    bundle: Bundle,
    encoder_digest: String,
    tokenizer: TagTokenizer,
    backend: Box<dyn Backend>,
    device_reason: String,
    replay: Replay,
    image_encoder: Box<dyn Graph>,
    text_encoder: Box<dyn Graph>,
    quality_head: Box<dyn Graph>,
}

impl std::fmt::Debug for Scorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scorer({} on {})", self.bundle.dir().display(), self.backend.device())
    }
}

impl Scorer {
    /// Opens the bundle in `dir`, prepares its graphs on the chosen device and replays the goldens there. A device on which
    /// they drift is refused; with [`DeviceChoice::Auto`] the next one is tried and the reason kept.
    ///
    /// # Errors
    /// [`ScorerError`], with what to do next.
    pub fn open(dir: &Path, choice: DeviceChoice) -> Result<Self, ScorerError> {
        let bundle = Bundle::open(dir)?;
        let tokenizer = TagTokenizer::from_file(&dir.join(file::TOKENIZER), bundle.manifest().text_input.clone())?;
        first_accepted(choice, |chosen| Self::prove(bundle.clone(), tokenizer.clone(), chosen))
    }

    fn prove(bundle: Bundle, tokenizer: TagTokenizer, chosen: Chosen) -> Result<Self, ScorerError> {
        let Chosen { backend, reason } = chosen;
        let images = Batch::Fixed(backend.policy().image_batch);
        let load = |name: &str, batch| -> Result<Box<dyn Graph>, ScorerError> {
            Ok(backend.load(name, &bundle.read(name)?, batch)?)
        };
        let (image_encoder, text_encoder, quality_head) = (
            load(file::IMAGE_ENCODER, images)?,
            load(file::TEXT_ENCODER, Batch::Fixed(1))?,
            load(file::QUALITY_HEAD, Batch::Any)?,
        );
        let nothing = Replay { image_embedding: 0.0, text_embedding: 0.0, score: 0.0, similarity: 0.0 };
        let encoder_digest = bundle.encoder_digest();
        let mut scorer = Self {
            bundle,
            encoder_digest,
            tokenizer,
            backend,
            device_reason: reason,
            replay: nothing,
            image_encoder,
            text_encoder,
            quality_head,
        };
        scorer.replay = replay::replay_goldens(&scorer)?;
        Ok(scorer)
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &Manifest {
        self.bundle.manifest()
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The model digest that belongs to every score of this scorer.
    pub fn digest(&self) -> &str {
        self.bundle.digest()
    }

    /// See [`Bundle::encoder_digest`].
    pub fn encoder_digest(&self) -> &str {
        &self.encoder_digest
    }

    /// Name of the device.
    pub fn device(&self) -> &'static str {
        self.backend.device()
    }

    /// Why this device.
    pub fn device_reason(&self) -> &str {
        &self.device_reason
    }

    /// How the device likes its work.
    pub fn policy(&self) -> Policy {
        self.backend.policy()
    }

    /// How far the replayed goldens were off at opening.
    pub fn replay(&self) -> Replay {
        self.replay
    }

    /// Decodes an image with just the resolution that the model needs.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn decode(&self, bytes: &[u8], limits: &Limits) -> Result<Picture, ImageError> {
        image_input::decode_reduced(bytes, limits, &self.manifest().image_input)
    }

    /// The image encoder's input, `f32 [3, S, S]`.
    pub fn pixel_values(&self, picture: &Picture) -> Array3<f32> {
        image_input::pixel_values(picture, &self.manifest().image_input)
    }

    /// Embeds images, in their order, on as many threads as the device's policy allows.
    ///
    /// # Errors
    /// [`ScorerError::Backend`], [`ScorerError::Shape`], [`ScorerError::NotFinite`]; then none of them has an embedding.
    pub fn embed(&self, pixel_values: &[Array3<f32>]) -> Result<Vec<ImageFeatures>, ScorerError> {
        let encode = |image: EncodedImage| {
            let embedding = ImageEmbedding::rounded(image.embedding.iter())?;
            Ok(ImageFeatures { embedding, patch_tokens: image.patch_tokens })
        };
        self.encode_images(pixel_values)?.into_iter().map(encode).collect()
    }

    fn encode_images(&self, pixel_values: &[Array3<f32>]) -> Result<Vec<EncodedImage>, ScorerError> {
        let Policy { image_batch, streams } = self.policy();
        let batches: Vec<&[Array3<f32>]> = pixel_values.chunks(image_batch).collect();
        let encode_share = |share: &[&[Array3<f32>]]| {
            let parts = share.iter().map(|b| self.encode_batch(b, image_batch)).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, ScorerError>(parts.into_iter().flatten().collect::<Vec<_>>())
        };
        if batches.len() <= 1 {
            return encode_share(&batches);
        }
        let share = batches.len().div_ceil(streams).max(1);
        std::thread::scope(|scope| {
            let work = |mine| scope.spawn(move || encode_share(mine));
            let workers: Vec<_> = batches.chunks(share).map(work).collect();
            let results = workers.into_iter().map(|w| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
            results.collect::<Result<Vec<_>, _>>().map(|parts| parts.into_iter().flatten().collect())
        })
    }

    /// One run; a short batch is filled up with zeros, because the graph is laid out for `size`.
    fn encode_batch(&self, batch: &[Array3<f32>], size: usize) -> Result<Vec<EncodedImage>, ScorerError> {
        let side = self.manifest().image_input.size_px as usize;
        let blank = Array3::zeros((3, side, side));
        let views: Vec<_> = batch.iter().chain(std::iter::repeat(&blank)).take(size).map(|p| p.view()).collect();
        let graph = file::IMAGE_ENCODER;
        let wrong = |_| ScorerError::Shape { graph, found: batch[0].shape().to_vec(), expected: vec![3, side, side] };
        let input = stack(Axis(0), &views).map_err(wrong)?.into_dyn();
        let mut outputs = self.image_encoder.run(vec![Input::F32(input)])?.into_iter();
        let rows = self.matrix(outputs.next().unwrap_or_default(), size, graph)?;
        finite(rows.slice(ndarray::s![..batch.len(), ..]).iter(), "the image embedding")?;
        let patches = self.needs_images().then(|| patch_tokens(outputs.next(), size)).transpose()?;
        if let Some(patches) = &patches {
            finite(patches.slice(ndarray::s![..batch.len(), .., ..]).iter(), "a patch token")?;
        }
        let image = |row: usize| EncodedImage {
            embedding: rows.row(row).to_owned(),
            patch_tokens: patches.as_ref().map(|p| p.index_axis(Axis(0), row).to_owned()),
        };
        Ok((0..batch.len()).map(image).collect())
    }

    /// Encodes a tag: white space folded, template applied, tokens padded, text encoder run.
    ///
    /// # Errors
    /// [`ScorerError::Text`] for a tag that is empty or too long, else as for [`Scorer::embed`].
    pub fn encode_tag(&self, tag: &str) -> Result<EncodedTag, ScorerError> {
        let tag = crate::text::normalise_tag(tag);
        let prompt = self.manifest().tag(&tag).and_then(|t| t.prompt.as_deref());
        let ids = self.tokenizer.encode(&tag, prompt)?;
        self.encode_ids(tag, ids)
    }

    /// Encodes a prompt as it stands, without the manifest's template; it stands for the tag in the answer.
    ///
    /// # Errors
    /// As for [`Scorer::encode_tag`].
    pub fn encode_prompt(&self, prompt: &str) -> Result<EncodedTag, ScorerError> {
        self.encode_ids(prompt.to_owned(), self.tokenizer.encode(prompt, Some(prompt))?)
    }

    fn encode_ids(&self, tag: String, ids: Vec<i64>) -> Result<EncodedTag, ScorerError> {
        let input = ArrayD::from_shape_vec(IxDyn(&[1, ids.len()]), ids).map_err(|_| TextError::Empty)?;
        let mut outputs = self.text_encoder.run(vec![Input::I64(input)])?.into_iter();
        let row = self.matrix(outputs.next().unwrap_or_default(), 1, file::TEXT_ENCODER)?;
        finite(row.iter(), "the text embedding")?;
        let tokens = match self.manifest().head.text_side {
            TextSide::TokenStates => Some(tag_tokens(outputs.next(), outputs.next())?),
            TextSide::TextEmbedding | TextSide::Nothing => None,
        };
        Ok(EncodedTag { tag, embedding: row.into_iter().collect(), tokens })
    }

    fn matrix(&self, output: ArrayD<f32>, rows: usize, graph: &'static str) -> Result<Array2<f32>, ScorerError> {
        let expected = vec![rows, self.manifest().architecture.embedding_dim];
        let found = output.shape().to_vec();
        if found != expected {
            return Err(ScorerError::Shape { graph, found, expected });
        }
        output.into_dimensionality().map_err(|_| ScorerError::Shape { graph, found, expected })
    }
}

/// What the image encoder says of one image, as it says it.
#[derive(Debug, Clone)]
struct EncodedImage {
    /// `[D]`.
    embedding: Array1<f32>,
    /// `[P, W]`, where the head reads them.
    patch_tokens: Option<Array2<f32>>,
}

/// The image encoder's second output, `[N, P, W]`.
fn patch_tokens(output: Option<ArrayD<f32>>, size: usize) -> Result<Array3<f32>, ScorerError> {
    let output = output.unwrap_or_default();
    let found = output.shape().to_vec();
    let wrong = || ScorerError::Shape { graph: file::IMAGE_ENCODER, found: found.clone(), expected: vec![size, 0, 0] };
    let tokens: Array3<f32> = output.into_dimensionality().map_err(|_| wrong())?;
    if tokens.len_of(Axis(0)) == size { Ok(tokens) } else { Err(wrong()) }
}

/// The text encoder's second and third output for one tag.
fn tag_tokens(states: Option<ArrayD<f32>>, mask: Option<ArrayD<f32>>) -> Result<TagTokens, ScorerError> {
    let (states, mask) = (states.unwrap_or_default(), mask.unwrap_or_default());
    let wrong = |found: &ArrayD<f32>| ScorerError::Shape {
        graph: file::TEXT_ENCODER,
        found: found.shape().to_vec(),
        expected: vec![1, states.shape().get(1).copied().unwrap_or(0)],
    };
    let (&[1, length, width], &[1, mask_length]) = (states.shape(), mask.shape()) else { return Err(wrong(&mask)) };
    if length != mask_length {
        return Err(wrong(&mask));
    }
    finite(states.iter().chain(&mask), "a token of the text")?;
    let shaped = states.to_shape((length, width)).map(|s| s.to_owned());
    let states = shaped.map_err(|_| wrong(&states))?;
    Ok(TagTokens { states, mask: mask.into_iter().collect() })
}

/// The first output of a graph; a backend gives at least one.
fn first(outputs: Vec<ArrayD<f32>>) -> ArrayD<f32> {
    outputs.into_iter().next().unwrap_or_default()
}

fn finite<'a>(mut values: impl Iterator<Item = &'a f32>, what: &'static str) -> Result<(), ScorerError> {
    if values.all(|v| v.is_finite()) { Ok(()) } else { Err(ScorerError::NotFinite(what)) }
}
