//! The small text encoder: a transformer over the bundle's own tokens. Padding is masked, so the embedding does not depend on how far
//! a prompt is padded.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Tensor};

use super::EMBEDDING;
use super::layers::{LAYER_NORM_EPSILON, Mask, TransformerLayer};
use super::ops::LayerOps;
use crate::onnx::{Dim, GraphBuilder};

/// `input_ids [N, T]` -> `text_embedding [N, D]`.
#[derive(Module, Debug)]
pub struct TextEncoder<B: Backend> {
    tokens: Param<Tensor<B, 2>>,
    positions: Param<Tensor<B, 2>>,
    layers: Vec<TransformerLayer<B>>,
    norm: LayerNorm<B>,
    projection: Linear<B>,
    dropout: Dropout,
    pad_id: i64,
}

/// The text encoder's sizes.
#[derive(Debug, Clone, Copy)]
pub struct TextShape {
    /// Number of tokens in the tokenizer's vocabulary.
    pub vocabulary: usize,
    /// Length T of a padded prompt, in tokens.
    pub context_length: usize,
    /// The id of the padding token.
    pub pad_id: i64,
    /// Width of the transformer: the length of a token's vector.
    pub width: usize,
    /// Number of transformer layers.
    pub layers: usize,
    /// Number of attention heads in each layer.
    pub heads: usize,
}

impl<B: Backend> TextEncoder<B> {
    /// Creates an encoder with random weights.
    pub fn new(shape: TextShape, dropout: f64, device: &B::Device) -> Self {
        let width = shape.width;
        let table = |rows| Param::from_tensor(Tensor::random([rows, width], Distribution::Normal(0.0, 0.1), device));
        let layer = |_| TransformerLayer::new(width, 2 * width, shape.heads, device);
        Self {
            tokens: table(shape.vocabulary),
            positions: table(shape.context_length),
            layers: (0..shape.layers).map(layer).collect(),
            norm: LayerNormConfig::new(width).init(device),
            projection: LinearConfig::new(width, EMBEDDING).init(device),
            dropout: DropoutConfig::new(dropout).init(),
            pad_id: shape.pad_id,
        }
    }

    /// Length T of a padded prompt.
    fn length(&self) -> usize {
        self.positions.dims()[0]
    }

    /// `ids [N, T]` -> `[N, D]`: the mean over the text's tokens, projected.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, ids: O::Ids) -> O::Tensor<2> {
        let length = self.length();
        let blocked = ops.equals(ids.clone(), self.pad_id);
        let x = ops.embed([&self.tokens, &self.positions], ids, length);
        let mut x = ops.dropout(&self.dropout, x);
        for layer in &self.layers {
            let mask = Mask::Keys(blocked.clone());
            x = layer.forward(ops, (x, length), mask, LAYER_NORM_EPSILON, |ops, hidden| {
                let hidden = ops.relu(hidden);
                ops.dropout(&self.dropout, hidden)
            });
        }
        let x = ops.layer_norm(&self.norm, LAYER_NORM_EPSILON, x);
        let kept = ops.affine(blocked, -1.0, 1.0);
        let column = ops.reshape(kept, [-1, length as i64, 1]);
        let masked = ops.mul(x, column.clone());
        let sum: O::Tensor<2> = ops.sum(masked, 1);
        let count = ops.sum(column, 1);
        let mean = ops.div(sum, count);
        ops.linear(&self.projection, mean)
    }

    /// Sets all numbers of a token's embedding to `value`.
    #[cfg(test)]
    pub(super) fn overwrite_token(&mut self, id: usize, value: f32) {
        let [_, width] = self.tokens.dims();
        let device = self.tokens.val().device();
        let row = Tensor::full([1, width], value, &device);
        self.tokens = self.tokens.clone().map(|table| table.slice_assign([id..id + 1, 0..width], row));
    }

    /// Writes the encoder to the graph, with its input and output.
    pub fn export(&self, g: &mut GraphBuilder) {
        let ids = g.input_i64("input_ids", &[Dim::Batch, Dim::Fixed(self.length())]);
        let embedding = self.forward(g, ids);
        g.output_f32("text_embedding", &embedding, &[Dim::Batch, Dim::Fixed(EMBEDDING)]);
    }
}
