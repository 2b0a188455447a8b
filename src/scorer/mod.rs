//! Images and tags in, quality scores out.
//!
//! Joins [`crate::bundle`], [`crate::backend`], [`crate::image_input`] and [`crate::text`]. Stateless: it knows neither
//! database nor directories, so that an engine of any kind can spread it over machines.

mod replay;

use std::path::Path;

use half::f16;
use ndarray::{Array2, Array3, ArrayD, Axis, IxDyn, stack};

use crate::backend::choice::first_accepted;
use crate::backend::{Backend, BackendError, Batch, Chosen, DeviceChoice, Graph, Input, Policy};
use crate::bundle::manifest::file;
use crate::bundle::{Bundle, BundleError, Manifest, Replay};
use crate::image_input::{self, ImageError, Limits, Picture};
use crate::text::{TagTokenizer, TextError};

/// Pairs per run of the head: enough to fill a device, little enough to keep memory flat.
const HEAD_BATCH: usize = 1024;

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
    /// A score or an embedding is NaN or infinite.
    #[error("{0} is not finite: the model cannot judge this input, nothing is recorded for it")]
    NotFinite(&'static str),
}

/// What the image encoder makes of an image: `[D]`, rounded to f16. That is its precision everywhere, so that a score
/// computed at once and one computed later from the database are the same number.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageEmbedding(pub Vec<f16>);

impl ImageEmbedding {
    /// The embedding at the precision in which it is kept.
    ///
    /// # Errors
    /// [`ScorerError::NotFinite`] for what f16 cannot hold: an infinite element would make every score of the image NaN.
    pub fn rounded<'a>(values: impl Iterator<Item = &'a f32>) -> Result<Self, ScorerError> {
        let rounded: Vec<f16> = values.map(|&v| f16::from_f32(v)).collect();
        if rounded.iter().all(|v| v.is_finite()) {
            Ok(Self(rounded))
        } else {
            Err(ScorerError::NotFinite("the image embedding, rounded to f16,"))
        }
    }

    /// Cosine with a tag's text embedding, -1..=1; 0 where either is zero.
    pub fn similarity(&self, tag: &EncodedTag) -> f32 {
        let (mut dot, mut image, mut text) = (0.0_f32, 0.0_f32, 0.0_f32);
        for (a, b) in self.0.iter().map(|v| v.to_f32()).zip(&tag.embedding) {
            dot += a * b;
            image += a * a;
            text += b * b;
        }
        dot / (image.sqrt() * text.sqrt()).max(f32::MIN_POSITIVE)
    }
}

/// A tag with its text embedding, `[D]`.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedTag {
    /// The tag.
    pub tag: String,
    /// Its embedding.
    pub embedding: Vec<f32>,
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
/// let embedding = scorer.embed(&[scorer.pixel_values(&picture)])?.remove(0);
/// for (tag, scored) in tags.iter().zip(scorer.score(&embedding, &tags)?) {
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
    pub fn embed(&self, pixel_values: &[Array3<f32>]) -> Result<Vec<ImageEmbedding>, ScorerError> {
        self.embed_f32(pixel_values)?.outer_iter().map(|row| ImageEmbedding::rounded(row.iter())).collect()
    }

    fn embed_f32(&self, pixel_values: &[Array3<f32>]) -> Result<Array2<f32>, ScorerError> {
        let Policy { image_batch, streams } = self.policy();
        let batches: Vec<&[Array3<f32>]> = pixel_values.chunks(image_batch).collect();
        let share = batches.len().div_ceil(streams).max(1);
        let parts = if batches.len() <= 1 {
            batches.iter().map(|b| self.embed_batch(b, image_batch)).collect::<Result<Vec<_>, _>>()?
        } else {
            std::thread::scope(|scope| {
                let embed_share = |share: &[&[Array3<f32>]]| {
                    share.iter().map(|b| self.embed_batch(b, image_batch)).collect::<Result<Vec<_>, _>>()
                };
                let workers: Vec<_> =
                    batches.chunks(share).map(|mine| scope.spawn(move || embed_share(mine))).collect();
                let results = workers.into_iter().map(|w| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
                results.collect::<Result<Vec<_>, _>>().map(|parts| parts.concat())
            })?
        };
        let views: Vec<_> = parts.iter().map(|p| p.view()).collect();
        let dim = self.manifest().architecture.embedding_dim;
        if views.is_empty() {
            return Ok(Array2::zeros((0, dim)));
        }
        ndarray::concatenate(Axis(0), &views).map_err(|_| ScorerError::NotFinite("the image embedding"))
    }

    /// One run; a short batch is filled up with zeros, because the graph is laid out for `size`.
    fn embed_batch(&self, batch: &[Array3<f32>], size: usize) -> Result<Array2<f32>, ScorerError> {
        let side = self.manifest().image_input.size_px as usize;
        let blank = Array3::zeros((3, side, side));
        let views: Vec<_> = batch.iter().chain(std::iter::repeat(&blank)).take(size).map(|p| p.view()).collect();
        let wrong = |found: Vec<usize>| ScorerError::Shape {
            graph: file::IMAGE_ENCODER,
            found,
            expected: vec![size, self.manifest().architecture.embedding_dim],
        };
        let input = stack(Axis(0), &views).map_err(|_| wrong(batch[0].shape().to_vec()))?;
        let output = self.image_encoder.run(vec![Input::F32(input.into_dyn())])?;
        let mut rows = self.matrix(output, size, file::IMAGE_ENCODER)?;
        rows.slice_collapse(ndarray::s![..batch.len(), ..]);
        finite(rows.iter(), "the image embedding")?;
        Ok(rows)
    }

    /// Encodes a tag: white space folded, template applied, tokens padded, text encoder run.
    ///
    /// # Errors
    /// [`ScorerError::Text`] for a tag that is empty or too long, else as for [`Scorer::embed`].
    pub fn encode_tag(&self, tag: &str) -> Result<EncodedTag, ScorerError> {
        let tag = crate::text::normalise_tag(tag);
        let prompt = self.manifest().tag(&tag).and_then(|t| t.prompt.as_deref());
        let ids = self.tokenizer.encode(&tag, prompt)?;
        let input = ArrayD::from_shape_vec(IxDyn(&[1, ids.len()]), ids).map_err(|_| TextError::Empty)?;
        let row = self.matrix(self.text_encoder.run(vec![Input::I64(input)])?, 1, file::TEXT_ENCODER)?;
        finite(row.iter(), "the text embedding")?;
        Ok(EncodedTag { tag, embedding: row.into_iter().collect() })
    }

    /// Scores one image under several tags, in their order.
    ///
    /// # Errors
    /// As for [`Scorer::embed`].
    pub fn score(&self, image: &ImageEmbedding, tags: &[EncodedTag]) -> Result<Vec<Scored>, ScorerError> {
        let pairs: Vec<_> = tags.iter().map(|tag| (image, tag)).collect();
        self.score_pairs(&pairs)
    }

    /// Scores (image, tag) pairs, in their order. Stored embeddings are enough: no image is read.
    ///
    /// # Errors
    /// As for [`Scorer::embed`].
    pub fn score_pairs(&self, pairs: &[(&ImageEmbedding, &EncodedTag)]) -> Result<Vec<Scored>, ScorerError> {
        let mut scored = Vec::with_capacity(pairs.len());
        for chunk in pairs.chunks(HEAD_BATCH) {
            let dim = self.manifest().architecture.embedding_dim;
            let wrong = |found: usize| ScorerError::Shape {
                graph: file::QUALITY_HEAD,
                found: vec![found],
                expected: vec![dim],
            };
            let (mut images, mut texts) = (Array2::zeros((chunk.len(), dim)), Array2::zeros((chunk.len(), dim)));
            for (row, (image, tag)) in chunk.iter().enumerate() {
                if image.0.len() != dim || tag.embedding.len() != dim {
                    return Err(wrong(image.0.len().max(tag.embedding.len())));
                }
                images.row_mut(row).iter_mut().zip(&image.0).for_each(|(to, from)| *to = from.to_f32());
                texts.row_mut(row).iter_mut().zip(&tag.embedding).for_each(|(to, from)| *to = *from);
            }
            let scores = self.run_head(images, texts)?;
            for (score, (image, tag)) in scores.into_iter().zip(chunk) {
                let similarity = image.similarity(tag);
                finite([similarity].iter(), "the similarity")?;
                let percentile = self.manifest().percentile(&tag.tag, score);
                scored.push(Scored { score, similarity, percentile });
            }
        }
        Ok(scored)
    }

    /// Like [`Scorer::score_pairs`], but a pair that fails does not fail the others.
    pub fn score_each(&self, pairs: &[(&ImageEmbedding, &EncodedTag)]) -> Vec<Result<Scored, ScorerError>> {
        match self.score_pairs(pairs) {
            Ok(scored) => scored.into_iter().map(Ok).collect(),
            Err(_) => pairs.iter().map(|pair| self.score_pairs(&[*pair]).map(|scored| scored[0])).collect(),
        }
    }

    fn run_head(&self, images: Array2<f32>, texts: Array2<f32>) -> Result<Vec<f32>, ScorerError> {
        let count = images.nrows();
        let output = self.quality_head.run(vec![Input::F32(images.into_dyn()), Input::F32(texts.into_dyn())])?;
        if output.shape() != [count] {
            let found = output.shape().to_vec();
            return Err(ScorerError::Shape { graph: file::QUALITY_HEAD, found, expected: vec![count] });
        }
        finite(output.iter(), "the score")?;
        Ok(output.into_iter().collect())
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

fn finite<'a>(mut values: impl Iterator<Item = &'a f32>, what: &'static str) -> Result<(), ScorerError> {
    if values.all(|v| v.is_finite()) { Ok(()) } else { Err(ScorerError::NotFinite(what)) }
}
