//! The heads: image and tag to score, one file each. All keep a path of the image embedding that no attention can close, and every
//! key sequence is longer than one, so that neither the image nor the tag drops out of the answer.

mod gated_cross_attention;
mod hyper_network;
mod image_only;
mod patch_cross_attention;
mod perceptron;
mod pooled_cross_attention;
mod weighted_sum;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

pub use gated_cross_attention::GatedCrossAttention;
pub use hyper_network::HyperNetwork;
pub use image_only::ImageOnly;
pub use patch_cross_attention::PatchCrossAttention;
pub use pooled_cross_attention::PooledCrossAttention;
pub use weighted_sum::WeightedSum;

use super::scorer::ScoreUnit;
use crate::onnx::{Dim, GraphBuilder, Value};
use edge_model::bundle::manifest::{Head as HeadManifest, HeadKind, ImageSide, TextSide};

/// Tokens that the pooled heads cut an embedding into.
pub const TOKENS: usize = 8;
/// Heads of every attention.
const HEADS: usize = 4;

/// Lengths of what a head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadShape {
    /// D, of both embeddings.
    pub embedding: usize,
    /// P and W: number and length of the patch tokens; zero where the backbone has none.
    pub patches: [usize; 2],
    /// T and V: number and length of the text's token states; zero where the backbone gives none.
    pub tokens: [usize; 2],
    /// How many numbers at the beginning of the image embedding are answers; zero where the backbone gives none.
    pub answers: usize,
}

/// What a head reads of N (image, tag) pairs.
#[derive(Debug, Clone)]
pub struct HeadInput<B: Backend> {
    /// `[N, D]`.
    pub image: Tensor<B, 2>,
    /// `[N, P, W]`.
    pub patches: Option<Tensor<B, 3>>,
    /// `[N, D]`.
    pub text: Tensor<B, 2>,
    /// Token states `[N, T, V]` and their mask `[N, T]`, 1 at the text's tokens.
    pub tokens: Option<(Tensor<B, 3>, Tensor<B, 2>)>,
}

/// One of the heads.
#[derive(Module, Debug)]
pub enum Head<B: Backend> {
    /// See [`PatchCrossAttention`].
    Patch(PatchCrossAttention<B>),
    /// See [`PooledCrossAttention`].
    Pooled(PooledCrossAttention<B>),
    /// See [`GatedCrossAttention`].
    Gated(GatedCrossAttention<B>),
    /// See [`HyperNetwork`].
    Hyper(HyperNetwork<B>),
    /// See [`WeightedSum`].
    Weighted(WeightedSum<B>),
    /// See [`ImageOnly`].
    ImageOnly(ImageOnly<B>),
}

/// What a head of this kind reads, as the manifest says it.
pub fn record(kind: HeadKind) -> HeadManifest {
    let (image_side, text_side) = match kind {
        HeadKind::PatchCrossAttention => (ImageSide::PatchTokens, TextSide::TokenStates),
        HeadKind::ImageOnly => (ImageSide::ImageEmbedding, TextSide::Nothing),
        HeadKind::PooledCrossAttention
        | HeadKind::GatedCrossAttention
        | HeadKind::HyperNetwork
        | HeadKind::WeightedSum => (ImageSide::ImageEmbedding, TextSide::TextEmbedding),
    };
    HeadManifest { kind: kind.name().to_owned(), image_side, text_side }
}

/// Why a head of this kind cannot be put on such a backbone.
pub fn problem(kind: HeadKind, shape: HeadShape) -> Option<String> {
    let HeadShape { embedding, patches: [patches, _], tokens: [tokens, _], answers } = shape;
    match kind {
        HeadKind::WeightedSum if answers == 0 => Some(
            "the head weighted_sum chooses among answers, which the backbone small alone gives: use gated_cross_attention"
                .to_owned(),
        ),
        HeadKind::PatchCrossAttention if patches < 2 || tokens < 2 => Some(
            "the head patch_cross_attention looks at patch and text tokens, which this backbone does not give: use \
             pooled_cross_attention"
                .to_owned(),
        ),
        HeadKind::PooledCrossAttention | HeadKind::GatedCrossAttention if !embedding.is_multiple_of(TOKENS * HEADS) => {
            Some(format!(
                "this head needs embeddings whose length, here {embedding}, is a multiple of {}",
                TOKENS * HEADS
            ))
        }
        HeadKind::PatchCrossAttention if !embedding.is_multiple_of(HEADS) => {
            Some(format!("this head needs embeddings whose length, here {embedding}, is a multiple of {HEADS}"))
        }
        _ => None,
    }
}

impl<B: Backend> Head<B> {
    /// A fresh head.
    pub fn new(kind: HeadKind, shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        match kind {
            HeadKind::PatchCrossAttention => Self::Patch(PatchCrossAttention::new(shape, dropout, device)),
            HeadKind::PooledCrossAttention => Self::Pooled(PooledCrossAttention::new(shape, dropout, device)),
            HeadKind::GatedCrossAttention => Self::Gated(GatedCrossAttention::new(shape, dropout, device)),
            HeadKind::HyperNetwork => Self::Hyper(HyperNetwork::new(shape, dropout, device)),
            HeadKind::WeightedSum => Self::Weighted(WeightedSum::new(shape, dropout, device)),
            HeadKind::ImageOnly => Self::ImageOnly(ImageOnly::new(shape, dropout, device)),
        }
    }

    /// Scores on the data's scale, `[N]`.
    pub fn forward(&self, input: HeadInput<B>, unit: ScoreUnit) -> Tensor<B, 1> {
        let score = match self {
            Self::Patch(head) => head.forward(input),
            Self::Pooled(head) => head.forward(input),
            Self::Gated(head) => head.forward(input),
            Self::Hyper(head) => head.forward(input),
            Self::Weighted(head) => head.forward(input),
            Self::ImageOnly(head) => head.forward(input),
        };
        score * unit.deviation + unit.mean
    }

    /// `text_embedding [N, D]` -> how a tag chooses among the image's numbers, as logits `[N, K]`, where the head does that.
    pub fn choice(&self, text: Tensor<B, 2>) -> Option<Tensor<B, 2>> {
        match self {
            Self::Weighted(head) => Some(head.logits(text)),
            _ => None,
        }
    }

    /// Writes the whole head: the image side's inputs, then the text side's.
    pub fn export(&self, g: &mut GraphBuilder, shape: HeadShape, unit: ScoreUnit) {
        let score = match self {
            Self::Patch(head) => head.export(g, shape),
            Self::Pooled(head) => head.export(g, shape),
            Self::Gated(head) => head.export(g, shape),
            Self::Hyper(head) => head.export(g, shape),
            Self::Weighted(head) => head.export(g, shape),
            Self::ImageOnly(head) => head.export(g, shape),
        };
        let score = g.reshape(&score, &[-1]);
        let score = g.affine(&score, unit.deviation, unit.mean);
        g.output_f32("score", &score, &[Dim::Batch]);
    }
}

/// Declares `image_embedding` and `text_embedding`.
fn embedding_inputs(g: &mut GraphBuilder, shape: HeadShape) -> [Value; 2] {
    let dims = [Dim::Batch, Dim::Fixed(shape.embedding)];
    ["image_embedding", "text_embedding"].map(|name| g.input_f32(name, &dims))
}

#[cfg(test)]
mod tests;
