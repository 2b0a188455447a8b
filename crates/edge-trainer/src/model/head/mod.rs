//! The heads, one file each: networks from image and tag to score. In a head with attention both inputs reach the score. The image
//! embedding bypasses the attention. Every key sequence has more than one token, so that the attention weights depend on the queries.

mod gated_cross_attention;
mod hyper_network;
mod image_only;
mod matched_sum;
mod patch_cross_attention;
mod perceptron;
mod pooled_cross_attention;
mod shape;
mod weighted_sum;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::ops::{Compute, TensorOps};
use crate::onnx::{Dim, GraphBuilder, Value};
use edge_model::bundle::manifest::{Head as HeadManifest, HeadKind, ImageSide, TextSide};
use shape::ATTENTION_HEADS;

pub use gated_cross_attention::GatedCrossAttention;
pub use hyper_network::HyperNetwork;
pub use image_only::ImageOnly;
pub use matched_sum::{KnownTag, MatchFit, MatchedSum};
pub use patch_cross_attention::PatchCrossAttention;
pub use pooled_cross_attention::PooledCrossAttention;
pub use shape::{HeadShape, ScoreUnit, TOKENS};
pub use weighted_sum::WeightedSum;

/// A head's inputs for N (image, tag) pairs.
#[derive(Debug, Clone)]
pub struct HeadInput<B: Backend> {
    /// Image embeddings `[N, D]`.
    pub image: Tensor<B, 2>,
    /// Patch tokens `[N, P, W]`.
    pub patches: Option<Tensor<B, 3>>,
    /// Text embeddings `[N, E]`.
    pub text: Tensor<B, 2>,
    /// Token states `[N, T, V]` and their mask `[N, T]`, 1 at the text's tokens.
    pub tokens: Option<(Tensor<B, 3>, Tensor<B, 2>)>,
}

/// A head of any kind.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one head, and its numbers are behind pointers")]
pub enum Head<B: Backend> {
    /// Attention from the tag's tokens to the image's patches; see [`PatchCrossAttention`].
    Patch(PatchCrossAttention<B>),
    /// Attention between tokens cut from the two embeddings; see [`PooledCrossAttention`].
    Pooled(PooledCrossAttention<B>),
    /// Attention between tokens cut from the two embeddings, with a learned gate; see [`GatedCrossAttention`].
    Gated(GatedCrossAttention<B>),
    /// A small network whose weights are computed from the text; see [`HyperNetwork`].
    Hyper(HyperNetwork<B>),
    /// A weighted sum of the image encoder's answers; see [`WeightedSum`].
    Weighted(WeightedSum<B>),
    /// One of the answers, and a reward for images that show the tag; see [`MatchedSum`].
    Matched(MatchedSum<B>),
    /// A network that reads no text; see [`ImageOnly`].
    ImageOnly(ImageOnly<B>),
}

/// The manifest's entry for heads of this kind.
pub fn record(kind: HeadKind) -> HeadManifest {
    let (image_side, text_side) = match kind {
        HeadKind::PatchCrossAttention => (ImageSide::PatchTokens, TextSide::TokenStates),
        HeadKind::ImageOnly => (ImageSide::ImageEmbedding, TextSide::Nothing),
        HeadKind::PooledCrossAttention
        | HeadKind::GatedCrossAttention
        | HeadKind::HyperNetwork
        | HeadKind::WeightedSum
        | HeadKind::MatchedSum => (ImageSide::ImageEmbedding, TextSide::TextEmbedding),
    };
    HeadManifest { kind: kind.name().to_owned(), image_side, text_side }
}

/// The reason why a head of this kind cannot read inputs of this shape; `None` if it can.
pub fn problem(kind: HeadKind, shape: HeadShape) -> Option<String> {
    let HeadShape { embedding, text, patches: [patches, _], tokens: [tokens, _], answers: [first, answers] } = shape;
    match kind {
        HeadKind::WeightedSum if answers == 0 => Some(
            "--head weighted reads the answers of the image encoder, which this backbone does not give. Use --head gated"
                .to_owned(),
        ),
        HeadKind::MatchedSum if first < text || answers == 0 => Some(
            "--head matched reads content vectors, which this backbone does not give. Use --head gated".to_owned(),
        ),
        HeadKind::PatchCrossAttention if patches < 2 || tokens < 2 => Some(
            "--head patch needs patch and text tokens, which this backbone does not give. Use --head pooled".to_owned(),
        ),
        HeadKind::PooledCrossAttention | HeadKind::GatedCrossAttention
            if !embedding.is_multiple_of(TOKENS * ATTENTION_HEADS) =>
        {
            Some(format!(
                "this head needs an embedding length that is a multiple of {}, but this backbone's is {embedding}. \
                 Use --head hyper",
                TOKENS * ATTENTION_HEADS
            ))
        }
        HeadKind::PatchCrossAttention if !embedding.is_multiple_of(ATTENTION_HEADS) => Some(format!(
            "this head needs an embedding length that is a multiple of {ATTENTION_HEADS}, but this backbone's is \
             {embedding}. Use --head hyper"
        )),
        _ => None,
    }
}

impl<B: Backend> Head<B> {
    /// A head with random weights.
    pub fn new(kind: HeadKind, shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        match kind {
            HeadKind::PatchCrossAttention => Self::Patch(PatchCrossAttention::new(shape, dropout, device)),
            HeadKind::PooledCrossAttention => Self::Pooled(PooledCrossAttention::new(shape, dropout, device)),
            HeadKind::GatedCrossAttention => Self::Gated(GatedCrossAttention::new(shape, dropout, device)),
            HeadKind::HyperNetwork => Self::Hyper(HyperNetwork::new(shape, device)),
            HeadKind::WeightedSum => Self::Weighted(WeightedSum::new(shape, dropout, device)),
            HeadKind::MatchedSum => Self::Matched(MatchedSum::new(shape, device)),
            HeadKind::ImageOnly => Self::ImageOnly(ImageOnly::new(shape, dropout, device)),
        }
    }

    /// Scores on the data's scale, `[N]`.
    ///
    /// # Panics
    /// If a head over patches gets no patch tokens or token states; [`problem`] refuses backbones without them.
    pub fn forward(&self, input: HeadInput<B>, unit: ScoreUnit) -> Tensor<B, 1> {
        let ops = &mut Compute::<B>::new(input.image.device());
        let HeadInput { image, patches, text, tokens } = input;
        let score = match self {
            Self::Patch(head) => {
                let (Some(patches), Some((states, mask))) = (patches, tokens) else {
                    panic!("the patch head got no patch tokens, or no token states")
                };
                let lengths = [states.dims()[1], patches.dims()[1]];
                head.forward(ops, image, patches, (states, mask), lengths)
            }
            Self::Pooled(head) => head.forward(ops, image, text),
            Self::Gated(head) => head.forward(ops, image, text),
            Self::Hyper(head) => head.forward(ops, image, text),
            Self::Weighted(head) => head.forward(ops, image, text),
            Self::Matched(head) => head.forward(ops, image, text),
            Self::ImageOnly(head) => head.forward(ops, image),
        };
        in_score_unit(ops, score, unit)
    }

    /// The tag's logits over the image's answers, `text_embedding [N, E]` -> `[N, K]`; `None` for a head that does not choose among
    /// answers.
    pub fn choice(&self, text: Tensor<B, 2>) -> Option<Tensor<B, 2>> {
        match self {
            Self::Weighted(head) => Some(head.logits(&mut Compute::<B>::new(text.device()), text)),
            _ => None,
        }
    }

    /// The same head with the constants that a fitted image encoder determines; a head without such constants stays as it is.
    pub fn with_fit(self, fit: &MatchFit, device: &B::Device) -> Self {
        match self {
            Self::Matched(head) => Self::Matched(head.with_fit(fit, device)),
            other => other,
        }
    }

    /// Writes the head to the graph: the inputs of the image side, then those of the text side, and the output `score`.
    pub fn export(&self, g: &mut GraphBuilder, shape: HeadShape, unit: ScoreUnit) {
        let image = embedding_input(g, "image_embedding", shape.embedding);
        let score = match self {
            Self::Patch(head) => {
                let HeadShape { patches: [p, w], tokens: [t, v], .. } = shape;
                let patches = g.input_f32("patch_tokens", &[Dim::Batch, Dim::Fixed(p), Dim::Fixed(w)]);
                // The head does not read the text embedding, but bundles name it as an input.
                let _ = embedding_input(g, "text_embedding", shape.text);
                let states = g.input_f32("token_states", &[Dim::Batch, Dim::Fixed(t), Dim::Fixed(v)]);
                let mask = g.input_f32("token_mask", &[Dim::Batch, Dim::Fixed(t)]);
                head.forward(g, image, patches, (states, mask), [t, p])
            }
            Self::Pooled(head) => {
                let text = embedding_input(g, "text_embedding", shape.text);
                head.forward(g, image, text)
            }
            Self::Gated(head) => {
                let text = embedding_input(g, "text_embedding", shape.text);
                head.forward(g, image, text)
            }
            Self::Hyper(head) => {
                let text = embedding_input(g, "text_embedding", shape.text);
                head.forward(g, image, text)
            }
            Self::Weighted(head) => {
                let text = embedding_input(g, "text_embedding", shape.text);
                head.forward(g, image, text)
            }
            Self::Matched(head) => {
                let text = embedding_input(g, "text_embedding", shape.text);
                head.forward(g, image, text)
            }
            Self::ImageOnly(head) => head.forward(g, image),
        };
        let score = in_score_unit(g, score, unit);
        g.output_f32("score", &score, &[Dim::Batch]);
    }
}

/// `[N, 1]` in units of the training scores -> `[N]` on the data's scale.
fn in_score_unit<O: TensorOps>(ops: &mut O, score: O::Tensor<2>, unit: ScoreUnit) -> O::Tensor<1> {
    let score = ops.reshape(score, [-1]);
    ops.affine(score, unit.deviation, unit.mean)
}

/// Declares an embedding as an input of the graph.
fn embedding_input(g: &mut GraphBuilder, name: &str, length: usize) -> Value {
    g.input_f32(name, &[Dim::Batch, Dim::Fixed(length)])
}

#[cfg(test)]
mod tests;
