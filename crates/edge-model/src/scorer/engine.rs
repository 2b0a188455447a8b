//! A bundle's graphs, prepared on one device and proved there.

use std::path::Path;

use ndarray::{Array1, Array2, Array3, ArrayD, Axis, IxDyn};

use super::known_answer::KnownAnswer;
use super::{EncodedTag, ImageEmbedding, ImageFeatures, ScorerError, TagTokens, finite, replay};
use crate::backend::{Backend, Batch, Chosen, Graph, GraphFile, Input, OperatorTime, Policy, Precision};
use crate::bundle::manifest::{ImageSide, TextSide, Tolerance, file};
use crate::bundle::{Bundle, Manifest, Replay};
use crate::image_input::{self, RgbImage};
use crate::text::{TagTokenizer, TextError};

/// What a model is on every device.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) bundle: Bundle,
    pub(super) encoder_digest: String,
    pub(super) tokenizer: TagTokenizer,
}

impl Model {
    pub(super) fn open(dir: &Path) -> Result<Self, ScorerError> {
        let bundle = Bundle::open(dir)?;
        let tokenizer = TagTokenizer::from_file(&dir.join(file::TOKENIZER), bundle.manifest().text_input.clone())?;
        Ok(Self { encoder_digest: bundle.encoder_digest(), bundle, tokenizer })
    }

    pub(super) fn manifest(&self) -> &Manifest {
        self.bundle.manifest()
    }

    /// Token ids of a tag in the manifest's prompt for it.
    pub(super) fn tag_ids(&self, tag: &str) -> Result<Vec<i64>, TextError> {
        let prompt = self.manifest().tag(tag).and_then(|t| t.prompt.as_deref());
        self.tokenizer.encode(tag, prompt)
    }
}

/// A model on a device.
pub(super) struct Engine {
    pub(super) model: std::sync::Arc<Model>,
    pub(super) backend: Box<dyn Backend>,
    /// Why this device.
    pub(super) reason: String,
    /// How far the goldens were off when it was opened.
    pub(super) replay: Replay,
    image_encoder: Box<dyn Graph>,
    text_encoder: Box<dyn Graph>,
    pub(super) quality_head: Box<dyn Graph>,
    /// What goes with every run, where the device needs it.
    pub(super) known: Option<KnownAnswer>,
}

/// What the image encoder says of one image, as it says it.
#[derive(Debug, Clone)]
pub(super) struct EncodedImage {
    /// `[D]`.
    pub(super) embedding: Array1<f32>,
    /// `[P, W]`, where the head reads them.
    pub(super) patch_tokens: Option<Array2<f32>>,
}

impl EncodedImage {
    /// At the precision in which embeddings are kept.
    pub(super) fn into_features(self) -> Result<ImageFeatures, ScorerError> {
        let embedding = ImageEmbedding::rounded(self.embedding.iter())?;
        Ok(ImageFeatures { embedding, patch_tokens: self.patch_tokens })
    }
}

impl Engine {
    /// Prepares the graphs on a device and replays the goldens there; a device on which they drift is refused.
    pub(super) fn prove(model: std::sync::Arc<Model>, chosen: Chosen) -> Result<Self, ScorerError> {
        let Chosen { backend, reason } = chosen;
        let policy = backend.policy();
        let batch = |count| if policy.needs_known_answers { Batch::Any } else { Batch::Fixed(count) };
        let digest = |name: &str| model.bundle.manifest().files.get(name).map_or("", |file| &file.sha256);
        let prepared = |name, batch| backend.load_prepared(GraphFile { name, digest: digest(name) }, batch);
        let load = |name, prepared: Option<Box<dyn Graph>>, batch| match prepared {
            Some(graph) => Ok::<_, ScorerError>(graph),
            None => Ok(backend.load(GraphFile { name, digest: digest(name) }, model.bundle.read(name)?, batch)?),
        };
        // What is ready is opened at once. What is not takes a multiple of its size while it is made, so one comes after the other.
        let batches = [batch(policy.image_batch), batch(1), Batch::Any];
        let [image, text, head] = std::thread::scope(|scope| {
            let image = scope.spawn(|| prepared(file::IMAGE_ENCODER, batches[0]));
            let [text, head] = [prepared(file::TEXT_ENCODER, batches[1]), prepared(file::QUALITY_HEAD, batches[2])];
            [image.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), text, head]
        });
        let image_encoder = load(file::IMAGE_ENCODER, image, batches[0])?;
        let text_encoder = load(file::TEXT_ENCODER, text, batches[1])?;
        let quality_head = load(file::QUALITY_HEAD, head, batches[2])?;
        let nothing = Replay { image_embedding: 0.0, text_embedding: 0.0, score: 0.0, similarity: 0.0 };
        let mut engine =
            Self { model, backend, reason, replay: nothing, image_encoder, text_encoder, quality_head, known: None };
        let (replay, known) = replay::replay_goldens(&engine)?;
        engine.replay = replay;
        engine.known = known.filter(|_| policy.needs_known_answers);
        Ok(engine)
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

    /// How far goldens may be off here: what the bundle allows, on a device with fewer digits at least what these cost.
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

    /// Encodes images, in their order, on as many threads as the device's policy allows.
    pub(super) fn encode_images(&self, squares: &[RgbImage]) -> Result<Vec<EncodedImage>, ScorerError> {
        let Policy { image_batch, streams, .. } = self.policy();
        let batches: Vec<&[RgbImage]> = squares.chunks(image_batch).collect();
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

    /// How long each operator of the image encoder takes for one image.
    pub(super) fn profile(&self, square: &RgbImage) -> Result<Vec<OperatorTime>, ScorerError> {
        let input = self.normalised([square].into_iter(), 1)?;
        Ok(self.image_encoder.profile(vec![Input::F32(input)])?)
    }

    /// The image encoder's input, `f32 [rows, 3, S, S]`, with zeros behind the pictures.
    fn normalised<'a>(
        &self,
        squares: impl Iterator<Item = &'a RgbImage>,
        rows: usize,
    ) -> Result<ArrayD<f32>, ScorerError> {
        let rule = &self.manifest().image_input;
        let side = rule.size_px as usize;
        let mut values = vec![0.0; rows * 3 * side * side];
        for (square, place) in squares.zip(values.chunks_exact_mut(3 * side * side)) {
            let (width, height) = square.dimensions();
            if (width, height) != (rule.size_px, rule.size_px) {
                let found = [3, height as usize, width as usize];
                return Err(shape_error(file::IMAGE_ENCODER, &found, vec![3, side, side]));
            }
            image_input::normalise_into(square, rule, place);
        }
        let wrong = |_| shape_error(file::IMAGE_ENCODER, &[rows], vec![rows, 3, side, side]);
        ArrayD::from_shape_vec(IxDyn(&[rows, 3, side, side]), values).map_err(wrong)
    }

    /// One run: the known image, where one is needed, then the batch. A graph that is laid out for more gets zeros behind them.
    fn encode_batch(&self, batch: &[RgbImage]) -> Result<Vec<EncodedImage>, ScorerError> {
        let known = self.known.as_ref().map(|known| &known.square);
        let Policy { image_batch, needs_known_answers, .. } = self.policy();
        let rows = if needs_known_answers { batch.len() + known.iter().len() } else { image_batch };
        let input = self.normalised(known.into_iter().chain(batch), rows)?;
        let mut outputs = self.image_encoder.run(vec![Input::F32(input)])?.into_iter();
        let embeddings = self.matrix(outputs.next().unwrap_or_default(), rows, file::IMAGE_ENCODER)?;
        let needs_images = self.manifest().head.image_side == ImageSide::PatchTokens;
        let patches = needs_images.then(|| patch_tokens(outputs.next(), rows)).transpose()?;
        let image = |row: usize| EncodedImage {
            embedding: embeddings.row(row).to_owned(),
            patch_tokens: patches.as_ref().map(|p| p.index_axis(Axis(0), row).to_owned()),
        };
        if let Some(known) = &self.known {
            known.check_image(self, &image(0))?;
        }
        let before = rows.min(usize::from(self.known.is_some()));
        let images: Vec<_> = (before..before + batch.len()).map(image).collect();
        for image in &images {
            finite(image.embedding.iter(), "the image embedding")?;
            finite(image.patch_tokens.iter().flatten(), "a patch token")?;
        }
        Ok(images)
    }

    /// Encodes the token ids of a text, which stands for `tag` in the answer.
    pub(super) fn encode_ids(&self, tag: &str, ids: &[i64]) -> Result<EncodedTag, ScorerError> {
        let known = self.known.as_ref().map(|known| &known.tag_ids[..]);
        let rows: Vec<&[i64]> = known.into_iter().chain([ids]).collect();
        let input = ArrayD::from_shape_vec(IxDyn(&[rows.len(), ids.len()]), rows.concat());
        let wrong = |_| shape_error(file::TEXT_ENCODER, &[ids.len()], vec![rows[0].len()]);
        let mut outputs = self.text_encoder.run(vec![Input::I64(input.map_err(wrong)?)])?.into_iter();
        let embeddings = self.matrix(outputs.next().unwrap_or_default(), rows.len(), file::TEXT_ENCODER)?;
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
            expected.check_tag(self, &found)?;
        }
        finite(answer.embedding.iter(), "the text embedding")?;
        if let Some(tokens) = &answer.tokens {
            finite(tokens.states.iter().chain(&tokens.mask), "a token of the text")?;
        }
        Ok(answer)
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

/// What products of 16 bits cost at most, on the models that were measured; the score's as a share of the score scale.
const F16: Tolerance = Tolerance { embedding: 2e-2, score: 2e-3, similarity: 5e-3 };
/// What products of 8 bits cost.
const INT8: Tolerance = Tolerance { embedding: 5e-2, score: 1e-2, similarity: 2e-2 };

fn shape_error(graph: &'static str, found: &[usize], expected: Vec<usize>) -> ScorerError {
    ScorerError::Shape { graph, found: found.to_vec(), expected }
}

/// The image encoder's second output, `[N, P, W]`.
fn patch_tokens(output: Option<ArrayD<f32>>, rows: usize) -> Result<Array3<f32>, ScorerError> {
    let output = output.unwrap_or_default();
    let found = output.shape().to_vec();
    let wrong = || shape_error(file::IMAGE_ENCODER, &found, vec![rows, 0, 0]);
    let tokens: Array3<f32> = output.into_dimensionality().map_err(|_| wrong())?;
    if tokens.len_of(Axis(0)) == rows { Ok(tokens) } else { Err(wrong()) }
}

/// The text encoder's second and third output, `[N, T, V]` and `[N, T]`.
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
