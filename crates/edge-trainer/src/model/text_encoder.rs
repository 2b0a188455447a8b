//! The text encoder: a small transformer over the bundle's own tokens. Padding is masked inside, so that the result does not
//! depend on how far a prompt is padded.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Int, Tensor};

use super::EMBEDDING;
use super::layers::{Attention, LAYER_NORM_EPSILON, Mask, export_layer_norm, export_linear, weights};
use super::mixed::linear;
use crate::onnx::{Dim, GraphBuilder, Value};

/// One layer: attention and a two-layer perceptron, each normalised before and added to what came in.
#[derive(Module, Debug)]
struct Layer<B: Backend> {
    attention_norm: LayerNorm<B>,
    attention: Attention<B>,
    hidden_norm: LayerNorm<B>,
    hidden: Linear<B>,
    output: Linear<B>,
}

/// `input_ids [N, T]` -> `text_embedding [N, D]`.
#[derive(Module, Debug)]
pub struct TextEncoder<B: Backend> {
    tokens: Param<Tensor<B, 2>>,
    positions: Param<Tensor<B, 2>>,
    layers: Vec<Layer<B>>,
    norm: LayerNorm<B>,
    projection: Linear<B>,
    dropout: Dropout,
    pad_id: i64,
}

/// The text encoder's sizes.
#[derive(Debug, Clone, Copy)]
pub struct TextShape {
    /// Number of tokens that the tokenizer knows.
    pub vocabulary: usize,
    /// Length T of a padded prompt.
    pub context_length: usize,
    /// The token that pads.
    pub pad_id: i64,
    /// Length of a token inside of the transformer.
    pub width: usize,
    /// Number of layers.
    pub layers: usize,
    /// Heads per layer.
    pub heads: usize,
}

impl<B: Backend> TextEncoder<B> {
    /// A network of this shape.
    pub fn new(shape: TextShape, dropout: f64, device: &B::Device) -> Self {
        let width = shape.width;
        let table = |rows| Param::from_tensor(Tensor::random([rows, width], Distribution::Normal(0.0, 0.1), device));
        let norm = || LayerNormConfig::new(width).init(device);
        let layer = |_| Layer {
            attention_norm: norm(),
            attention: Attention::new(width, shape.heads, device),
            hidden_norm: norm(),
            hidden: LinearConfig::new(width, 2 * width).init(device),
            output: LinearConfig::new(2 * width, width).init(device),
        };
        Self {
            tokens: table(shape.vocabulary),
            positions: table(shape.context_length),
            layers: (0..shape.layers).map(layer).collect(),
            norm: norm(),
            projection: LinearConfig::new(width, EMBEDDING).init(device),
            dropout: DropoutConfig::new(dropout).init(),
            pad_id: shape.pad_id,
        }
    }

    /// `input_ids [N, T]` -> `[N, D]`.
    pub fn forward(&self, input_ids: Tensor<B, 2, Int>) -> Tensor<B, 2> {
        let [n, t] = input_ids.dims();
        let width = self.tokens.dims()[1];
        let blocked = input_ids.clone().equal_elem(self.pad_id).float();
        let looked_up = self.tokens.val().select(0, input_ids.reshape([n * t])).reshape([n, t, width]);
        let mut x = self.dropout.forward(looked_up + self.positions.val().unsqueeze::<3>());
        for layer in &self.layers {
            let seen = layer.attention_norm.forward(x.clone());
            x = x + layer.attention.forward(seen.clone(), seen, Mask::Keys(blocked.clone()));
            let hidden = layer.hidden_norm.forward(x.clone()).reshape([n * t, width]);
            let hidden = self.dropout.forward(relu(linear(&layer.hidden, hidden)));
            x = x + linear(&layer.output, hidden).reshape([n, t, width]);
        }
        let x = self.norm.forward(x);
        let kept = blocked.neg() + 1.0;
        let sum = (x * kept.clone().reshape([n, t, 1])).sum_dim(1).reshape([n, width]);
        self.projection.forward(sum / kept.sum_dim(1))
    }

    /// Gives a token another embedding.
    #[cfg(test)]
    pub(super) fn overwrite_token(&mut self, id: usize, value: f32) {
        let [_, width] = self.tokens.dims();
        let device = self.tokens.val().device();
        let row = Tensor::full([1, width], value, &device);
        self.tokens = self.tokens.clone().map(|table| table.slice_assign([id..id + 1, 0..width], row));
    }

    /// Writes the whole encoder.
    pub fn export(&self, g: &mut GraphBuilder) {
        let [vocabulary, width] = self.tokens.dims();
        let t = self.positions.dims()[0];
        let ids = g.input_i64("input_ids", &[Dim::Batch, Dim::Fixed(t)]);
        let blocked = g.equals(&ids, self.pad_id);
        let table = g.constant(&weights(&self.tokens), &[vocabulary, width]);
        let positions = g.constant(&weights(&self.positions), &[t, width]);
        let looked_up = g.gather_rows(&table, &ids);
        let mut x = g.add(&looked_up, &positions);
        for layer in &self.layers {
            x = layer.export(g, &x, &blocked, t);
        }
        let x = export_layer_norm(&self.norm, g, &x, LAYER_NORM_EPSILON);
        let kept = g.affine(&blocked, -1.0, 1.0);
        let column = g.reshape(&kept, &[-1, t as i64, 1]);
        let masked = g.mul(&x, &column);
        let sum = g.sum(&masked, &[1]);
        let count = g.sum(&column, &[1]);
        let mean = g.div(&sum, &count);
        let embedding = export_linear(&self.projection, g, &mean);
        g.output_f32("text_embedding", &embedding, &[Dim::Batch, Dim::Fixed(EMBEDDING)]);
    }
}

impl<B: Backend> Layer<B> {
    fn export(&self, g: &mut GraphBuilder, x: &Value, blocked: &Value, length: usize) -> Value {
        let seen = export_layer_norm(&self.attention_norm, g, x, LAYER_NORM_EPSILON);
        let attended = self.attention.export(g, &seen, &seen, Mask::Keys(blocked), [length, length]);
        let x = g.add(x, &attended);
        let hidden = export_layer_norm(&self.hidden_norm, g, &x, LAYER_NORM_EPSILON);
        let hidden = export_linear(&self.hidden, g, &hidden);
        let hidden = g.relu(&hidden);
        let output = export_linear(&self.output, g, &hidden);
        g.add(&x, &output)
    }
}
