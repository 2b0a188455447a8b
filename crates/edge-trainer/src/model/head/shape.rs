//! Sizes and the score unit that all heads use.

use burn::nn::{Linear, LinearConfig};
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use crate::model::ops::LayerOps;

/// Number of tokens that the pooled heads cut an embedding into.
pub const TOKENS: usize = 8;
/// Number of attention heads in every attention layer.
pub const ATTENTION_HEADS: usize = 4;

/// Mean and standard deviation of the training scores: heads compute in this unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScoreUnit {
    /// Mean of the training scores.
    pub mean: f32,
    /// Standard deviation of the training scores, above zero.
    pub deviation: f32,
}

/// Sizes of a head's inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadShape {
    /// Length D of the image embedding.
    pub embedding: usize,
    /// Length E of the text embedding: that of the part of the image embedding that it is compared with.
    pub text: usize,
    /// Number P and length W of the patch tokens; zero if the backbone has none.
    pub patches: [usize; 2],
    /// Number T and length V of the text's token states; zero if the backbone has none.
    pub tokens: [usize; 2],
    /// Place of the first answer in the image embedding, and number of answers; zero if the backbone gives none.
    pub answers: [usize; 2],
}

/// A layer from the length of the text embedding to that of the image embedding; `None` if they are the same.
pub(super) fn widen<B: Backend>(shape: HeadShape, device: &B::Device) -> Option<Linear<B>> {
    (shape.text != shape.embedding).then(|| LinearConfig::new(shape.text, shape.embedding).init(device))
}

/// The text embedding, after the layer if there is one.
pub(super) fn widened<B: Backend, O: LayerOps<B>>(
    layer: Option<&Linear<B>>,
    ops: &mut O,
    text: O::Tensor<2>,
) -> O::Tensor<2> {
    match layer {
        Some(layer) => ops.linear(layer, text),
        None => text,
    }
}
