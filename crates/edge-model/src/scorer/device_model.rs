//! A model prepared on one device: encodes images and tags there.

use std::sync::Arc;

use ndarray::{Array2, Array3, ArrayD, Axis, IxDyn};

use super::encoded::{EncodedTag, TagTokens, UnroundedImage};
use super::error::{ScorerError, finite};
use super::known_answer::KnownAnswer;
use super::model::Model;
use crate::backend::{Backend, BatchSize, ChosenBackend, Graph, GraphFile, Input, OperatorTime, Policy, Precision};
use crate::bundle::manifest::{ImageSide, TextSide, Tolerance, file};
use crate::bundle::{Manifest, Replay};
use crate::image_input::{self, RgbImage};
use crate::text::TextError;

/// A model whose graphs are prepared on one device. [`super::replay::prove`] makes one and replays the goldens on it.
pub(super) struct DeviceModel {
    pub(super) model: Arc<Model>,
    pub(super) backend: Box<dyn Backend>,
    /// Why this device was chosen.
    pub(super) reason: String,
    /// Largest differences between the goldens and the device's outputs, measured when the device was proved.
    pub(super) replay: Replay,
    /// Whether a graph comes from the cache.
    pub(super) from_cache: bool,
    image_encoder: Box<dyn Graph>,
    text_encoder: Box<dyn Graph>,
    pub(super) quality_head: Box<dyn Graph>,
    /// The known answer, which is added to every run; `None` if the device does not need one.
    pub(super) known: Option<KnownAnswer>,
}

impl DeviceModel {
    /// Prepares the graphs on a device, or takes them from the cache if `may_use_cache`. Replays no goldens; see [`super::replay::prove`].
    pub(super) fn prepare(model: Arc<Model>, chosen: ChosenBackend, may_use_cache: bool) -> Result<Self, ScorerError> {
        let ChosenBackend { backend, reason } = chosen;
        let policy = backend.policy();
        let batch = |count| if policy.needs_known_answers { BatchSize::Any } else { BatchSize::Fixed(count) };
        let digest = |name: &str| model.bundle.manifest().files.get(name).map_or("", |file| &file.sha256);
        let cached = |name, batch| backend.load_prepared(GraphFile { name, digest: digest(name) }, batch);
        let prepared = |name, batch| if may_use_cache { cached(name, batch) } else { None };
        let load = |name, prepared: Option<Box<dyn Graph>>, batch| match prepared {
            Some(graph) => Ok::<_, ScorerError>(graph),
            None => Ok(backend.load(GraphFile { name, digest: digest(name) }, model.bundle.read(name)?, batch)?),
        };
        // Graphs from the cache are opened in parallel. Preparing a graph takes a multiple of its size in memory, so the others are
        // prepared one after the other.
        let batches = [batch(policy.image_batch), batch(1), BatchSize::Any];
        let [image, text, head] = std::thread::scope(|scope| {
            let image = scope.spawn(|| prepared(file::IMAGE_ENCODER, batches[0]));
            let [text, head] = [prepared(file::TEXT_ENCODER, batches[1]), prepared(file::QUALITY_HEAD, batches[2])];
            [image.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), text, head]
        });
        let from_cache = image.is_some() || text.is_some() || head.is_some();
        let image_encoder = load(file::IMAGE_ENCODER, image, batches[0])?;
        let text_encoder = load(file::TEXT_ENCODER, text, batches[1])?;
        let quality_head = load(file::QUALITY_HEAD, head, batches[2])?;
        let nothing = Replay { image_embedding: 0.0, text_embedding: 0.0, score: 0.0, similarity: 0.0 };
        Ok(Self {
            model,
            backend,
            reason,
            replay: nothing,
            from_cache,
            image_encoder,
            text_encoder,
            quality_head,
            known: None,
        })
    }

    pub(super) fn manifest(&self) -> &Manifest {
        self.model.manifest()
    }

    pub(super) fn device(&self) -> &'static str {
        self.backend.device()
    }

    pub(super) fn policy(&self) -> Policy {
        self.backend.policy()
    }

    /// Largest differences from the goldens that are allowed on this device. These are the bundle's tolerances, widened on a device of
    /// lower precision to the error of that precision.
    pub(super) fn tolerance(&self) -> Tolerance {
        let Tolerance { embedding, score, similarity } = self.manifest().goldens.tolerance;
        let costs = match self.backend.precision() {
            Precision::F32 => return Tolerance { embedding, score, similarity },
            Precision::F16 => F16,
            Precision::Int8 => INT8,
        };
        let scale = &self.manifest().score_scale;
        Tolerance {
            embedding: embedding.max(costs.embedding),
            score: score.max(costs.score * (scale.max - scale.min)),
            similarity: similarity.max(costs.similarity),
        }
    }

    /// Encodes images on as many threads as the device's policy allows. Returns the results in the order of the images.
    pub(super) fn encode_images(&self, inputs: &[RgbImage]) -> Result<Vec<UnroundedImage>, ScorerError> {
        let Policy { image_batch, streams, .. } = self.policy();
        let batches: Vec<&[RgbImage]> = inputs.chunks(image_batch).collect();
        let encode_share = |share: &[&[RgbImage]]| {
            let parts = share.iter().map(|batch| self.encode_batch(batch)).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, ScorerError>(parts.into_iter().flatten().collect::<Vec<_>>())
        };
        if batches.len() <= 1 || streams == 1 {
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

    /// Measures the time that each operator of the image encoder takes for one image.
    pub(super) fn profile(&self, input: &RgbImage) -> Result<Vec<OperatorTime>, ScorerError> {
        let input = self.normalised([input].into_iter(), 1)?;
        Ok(self.image_encoder.profile(vec![Input::F32(input)])?)
    }

    /// The normalised images as the image encoder's input, `f32 [rows, 3, height, width]`. Rows without an image are zero.
    fn normalised<'a>(
        &self,
        inputs: impl Iterator<Item = &'a RgbImage>,
        rows: usize,
    ) -> Result<ArrayD<f32>, ScorerError> {
        let rule = &self.manifest().image_input;
        let shape = |(width, height): (u32, u32)| vec![3, height as usize, width as usize];
        let expected = shape(rule.input_size());
        let length = expected.iter().product();
        let mut values = vec![0.0; rows * length];
        for (input, place) in inputs.zip(values.chunks_exact_mut(length)) {
            let found = shape(input.dimensions());
            if found != expected {
                return Err(shape_error(file::IMAGE_ENCODER, &found, expected));
            }
            image_input::normalise_into(input, rule, place);
        }
        let batch = [&[rows], &expected[..]].concat();
        ArrayD::from_shape_vec(IxDyn(&batch), values).map_err(|_| shape_error(file::IMAGE_ENCODER, &[rows], batch))
    }

    /// Encodes one batch in one run. The image of the known answer, if the device needs one, comes first. A graph for a fixed
    /// batch size gets zeros in the unused rows.
    fn encode_batch(&self, batch: &[RgbImage]) -> Result<Vec<UnroundedImage>, ScorerError> {
        let known = self.known.as_ref().map(|known| &known.input);
        let Policy { image_batch, needs_known_answers, .. } = self.policy();
        let rows = if needs_known_answers { batch.len() + known.iter().len() } else { image_batch };
        let input = self.normalised(known.into_iter().chain(batch), rows)?;
        let mut outputs = self.image_encoder.run(vec![Input::F32(input)])?.into_iter();
        let dim = self.manifest().architecture.embedding_dim;
        let embeddings = matrix(outputs.next().unwrap_or_default(), [rows, dim], file::IMAGE_ENCODER)?;
        let needs_images = self.manifest().head.image_side == ImageSide::PatchTokens;
        let patches = needs_images.then(|| patch_tokens(outputs.next(), rows)).transpose()?;
        let image = |row: usize| UnroundedImage {
            embedding: embeddings.row(row).to_owned(),
            patch_tokens: patches.as_ref().map(|p| p.index_axis(Axis(0), row).to_owned()),
        };
        if let Some(known) = &self.known {
            known.check_image(&image(0))?;
        }
        let before = rows.min(usize::from(self.known.is_some()));
        let images: Vec<_> = (before..before + batch.len()).map(image).collect();
        for image in &images {
            finite(image.embedding.iter(), "the image embedding")?;
            finite(image.patch_tokens.iter().flatten(), "a patch token")?;
        }
        Ok(images)
    }

    /// Encodes the token ids of a text. `tag` is the tag of the result.
    pub(super) fn encode_ids(&self, tag: &str, ids: &[i64]) -> Result<EncodedTag, ScorerError> {
        let known = self.known.as_ref().map(|known| &known.tag_ids[..]);
        let rows: Vec<&[i64]> = known.into_iter().chain([ids]).collect();
        let input = ArrayD::from_shape_vec(IxDyn(&[rows.len(), ids.len()]), rows.concat());
        let wrong = |_| shape_error(file::TEXT_ENCODER, &[ids.len()], vec![rows[0].len()]);
        let mut outputs = self.text_encoder.run(vec![Input::I64(input.map_err(wrong)?)])?.into_iter();
        let dim = self.manifest().architecture.text_dim();
        let embeddings = matrix(outputs.next().unwrap_or_default(), [rows.len(), dim], file::TEXT_ENCODER)?;
        let tokens = match self.manifest().head.text_side {
            TextSide::TokenStates => {
                tag_tokens(outputs.next(), outputs.next(), rows.len())?.into_iter().map(Some).collect()
            }
            TextSide::TextEmbedding | TextSide::Nothing => vec![None; rows.len()],
        };
        let encoded = |(row, tokens): (usize, _)| EncodedTag {
            tag: tag.to_owned(),
            embedding: embeddings.row(row).to_vec(),
            tokens,
        };
        let mut encoded: Vec<EncodedTag> = tokens.into_iter().enumerate().map(encoded).collect();
        let (Some(answer), known) = (encoded.pop(), encoded.pop()) else { return Err(TextError::Empty.into()) };
        if let (Some(expected), Some(found)) = (&self.known, known) {
            expected.check_tag(&found)?;
        }
        finite(answer.embedding.iter(), "the text embedding")?;
        if let Some(tokens) = &answer.tokens {
            finite(tokens.states.iter().chain(&tokens.mask), "a token of the text")?;
        }
        Ok(answer)
    }
}

/// The embeddings in a graph's first output, of the shape `expected`.
fn matrix(output: ArrayD<f32>, expected: [usize; 2], graph: &'static str) -> Result<Array2<f32>, ScorerError> {
    let found = output.shape().to_vec();
    if found != expected {
        return Err(shape_error(graph, &found, expected.to_vec()));
    }
    output.into_dimensionality().map_err(|_| shape_error(graph, &found, expected.to_vec()))
}

/// Largest differences allowed for products in f16, measured on several models; `score` is a fraction of the score scale.
const F16: Tolerance = Tolerance { embedding: 2e-2, score: 2e-3, similarity: 5e-3 };
/// Largest differences allowed for products in int8, measured on several models; `score` is a fraction of the score scale.
const INT8: Tolerance = Tolerance { embedding: 5e-2, score: 1e-2, similarity: 2e-2 };

fn shape_error(graph: &'static str, found: &[usize], expected: Vec<usize>) -> ScorerError {
    ScorerError::Shape { graph, found: found.to_vec(), expected }
}

/// The patch tokens, which are the image encoder's second output: `[N, P, W]`.
fn patch_tokens(output: Option<ArrayD<f32>>, rows: usize) -> Result<Array3<f32>, ScorerError> {
    let output = output.unwrap_or_default();
    let found = output.shape().to_vec();
    let wrong = || shape_error(file::IMAGE_ENCODER, &found, vec![rows, 0, 0]);
    let tokens: Array3<f32> = output.into_dimensionality().map_err(|_| wrong())?;
    if tokens.len_of(Axis(0)) == rows { Ok(tokens) } else { Err(wrong()) }
}

/// Token states and token mask of N tags, from the text encoder's second and third output: `[N, T, V]` and `[N, T]`.
fn tag_tokens(
    states: Option<ArrayD<f32>>,
    mask: Option<ArrayD<f32>>,
    rows: usize,
) -> Result<Vec<TagTokens>, ScorerError> {
    let (states, mask) = (states.unwrap_or_default(), mask.unwrap_or_default());
    let found = mask.shape().to_vec();
    let wrong = || shape_error(file::TEXT_ENCODER, &found, vec![rows, states.shape().get(1).copied().unwrap_or(0)]);
    let (&[states_rows, length, _], &[mask_rows, mask_length]) = (states.shape(), mask.shape()) else {
        return Err(wrong());
    };
    if (states_rows, mask_rows, mask_length) != (rows, rows, length) {
        return Err(wrong());
    }
    let of_row = |row| {
        let states = states.index_axis(Axis(0), row).to_owned().into_dimensionality().map_err(|_| wrong())?;
        let mask = mask.index_axis(Axis(0), row).to_owned().into_dimensionality().map_err(|_| wrong())?;
        Ok(TagTokens { states, mask })
    };
    (0..rows).map(of_row).collect()
}
