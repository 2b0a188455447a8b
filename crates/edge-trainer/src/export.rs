//! Exports trained weights as the bundle's graphs, and proves that the graphs compute the same as the trained network.

use ndarray::Array2;

use super::device::Host;
use super::golden::Goldens;
use super::model::head::record;
use super::model::{ModelShape, ScoreUnit, TagScorer};
use super::onnx::{GraphBuilder, OnnxError};
use edge_model::bundle::GoldenTensors;
use edge_model::bundle::manifest::{ImageSide, TextSide};
use edge_model::image_input::InputRule;
use edge_model::scorer::{EncodedTag, ImageEmbedding, ImageFeatures, Scorer, ScorerError};

/// Largest allowed difference of text embeddings and scores between the trained network and the exported graphs.
/// Differences of text embeddings are shares of the largest magnitude in the embeddings, differences of scores are in
/// score units.
pub const PARITY: f32 = 1e-4;
/// Largest allowed difference of image embeddings between the trained network and the exported graphs, as a share of
/// the largest magnitude in the embeddings. It is half a step of the 16-bit floats that store the embeddings. It is
/// larger than [`PARITY`] because the small model's embeddings are sums of thousands of terms that nearly cancel, so
/// they depend on the order of summation.
pub const IMAGE_PARITY: f32 = 1.0 / 2048.0;

/// Reason why the trained weights cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A graph cannot be written.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The outputs of the exported graphs differ from those of the trained network.
    #[error(
        "the exported graphs do not reproduce the trained network: the {what} differs by {difference:e}, which \
         is more than the allowed {allowed:e}. No bundle was written. This is a defect of the export: please report \
         it with the run directory"
    )]
    Parity {
        /// The output that differs, such as the score.
        what: &'static str,
        /// The largest difference found, in the same unit as `allowed`.
        difference: f32,
        /// The largest allowed difference.
        allowed: f32,
    },
    /// The scorer refuses the bundle.
    #[error(
        "the scorer refuses the finished bundle: {0}. Unless memory or disk space ran out, please report this as a defect"
    )]
    Scorer(#[from] ScorerError),
}

/// The three graphs as ONNX files.
#[derive(Debug, Clone)]
pub struct Graphs {
    /// Bytes of `image_encoder.onnx`.
    pub image_encoder: Vec<u8>,
    /// Bytes of `text_encoder.onnx`.
    pub text_encoder: Vec<u8>,
    /// Bytes of `quality_head.onnx`.
    pub quality_head: Vec<u8>,
}

impl Graphs {
    /// Exports the graphs for images prepared by `rule`.
    ///
    /// # Errors
    /// [`ExportError::Onnx`].
    pub fn of(
        (model, shape): (&TagScorer<Host>, &ModelShape),
        unit: ScoreUnit,
        rule: &InputRule,
    ) -> Result<Self, ExportError> {
        let sides = record(shape.head);
        let mut image = GraphBuilder::new("image_encoder");
        model.image.export(&mut image, rule, sides.image_side == ImageSide::PatchTokens);
        let mut text = GraphBuilder::new("text_encoder");
        model.text.export(&mut text, shape.context_length, sides.text_side == TextSide::TokenStates);
        let mut head = GraphBuilder::new("quality_head");
        model.head.export(&mut head, shape.head_shape(), unit);
        Ok(Self { image_encoder: image.finish()?, text_encoder: text.finish()?, quality_head: head.finish()? })
    }
}

/// The largest differences between the trained network and the exported graphs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parity {
    /// Largest difference of image embeddings, as a share of the largest magnitude in the embeddings.
    pub image_embedding: f32,
    /// Largest difference of text embeddings, as a share of the largest magnitude in the embeddings.
    pub text_embedding: f32,
    /// Largest difference of scores, in score units.
    pub score: f32,
}

/// Compares the outputs of the trained network with those of the opened bundle. If the head reads only embeddings, both
/// heads get the network's embeddings, so that the difference of the scores is due to the head alone. If the head reads
/// tokens, each head gets the outputs of its own encoders, so that the difference of the scores includes differences of
/// the encoders.
///
/// # Errors
/// [`ExportError::Parity`] above [`PARITY`] or [`IMAGE_PARITY`], [`ExportError::Scorer`].
pub fn prove(goldens: &Goldens, scorer: &Scorer) -> Result<Parity, ExportError> {
    let replay = scorer.replay();
    let parity = Parity {
        image_embedding: replay.image_embedding,
        text_embedding: replay.text_embedding,
        score: score_difference(goldens, scorer)?,
    };
    let figures = [
        ("image embedding", parity.image_embedding, IMAGE_PARITY),
        ("text embedding", parity.text_embedding, PARITY),
        ("score", parity.score, PARITY),
    ];
    for (what, difference, allowed) in figures {
        if difference.is_nan() || difference > allowed {
            return Err(ExportError::Parity { what, difference, allowed });
        }
    }
    Ok(parity)
}

fn score_difference(goldens: &Goldens, scorer: &Scorer) -> Result<f32, ExportError> {
    let head = &scorer.manifest().head;
    if head.image_side == ImageSide::PatchTokens || head.text_side == TextSide::TokenStates {
        return Ok(scorer.replay().score);
    }
    let GoldenTensors { image_embedding, text_embedding, score, .. } = &goldens.tensors;
    let rows = |m: &Array2<f32>| m.outer_iter().map(|r| r.to_vec()).collect::<Vec<_>>();
    let tags: Vec<EncodedTag> = goldens
        .tags
        .iter()
        .zip(rows(text_embedding))
        .map(|(tag, embedding)| EncodedTag { tag: tag.clone(), embedding, tokens: None })
        .collect();
    let mut largest = 0.0f32;
    for (image, expected) in rows(image_embedding).into_iter().zip(rows(score)) {
        let image = ImageFeatures::from(ImageEmbedding(image.into_iter().map(half::f16::from_f32).collect()));
        for (scored, expected) in scorer.score(&image, &tags)?.iter().zip(expected) {
            let difference = (scored.score - expected).abs();
            largest = if difference.is_nan() { f32::INFINITY } else { largest.max(difference) };
        }
    }
    Ok(largest)
}
