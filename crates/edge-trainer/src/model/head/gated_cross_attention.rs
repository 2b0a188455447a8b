//! Gated cross-attention (Alayrac et al., "Flamingo: a visual language model for few-shot learning", 2022): tokens of the image
//! embedding look at tokens of the text embedding, and what they find comes in through a gate `tanh(a)` that begins closed. The head
//! thus begins as one without text and takes of the tag what helps. Stored embeddings suffice.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

use super::perceptron::Perceptron;
use super::{HEADS, HeadInput, HeadShape, TOKENS, embedding_inputs};
use crate::model::layers::{Attention, LAYER_NORM_EPSILON, Mask, export_layer_norm, export_linear, weights};
use crate::onnx::{GraphBuilder, Value};

/// `image_embedding [N, D]`, `text_embedding [N, D]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct GatedCrossAttention<B: Backend> {
    attention: Attention<B>,
    attention_gate: Param<Tensor<B, 1>>,
    hidden: Linear<B>,
    output: Linear<B>,
    hidden_gate: Param<Tensor<B, 1>>,
    norm: LayerNorm<B>,
    perceptron: Perceptron<B>,
}

impl<B: Backend> GatedCrossAttention<B> {
    /// A fresh head, its gates closed.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        let token = shape.embedding / TOKENS;
        let closed = || Param::from_tensor(Tensor::zeros([1], device));
        Self {
            attention: Attention::new(token, HEADS, device),
            attention_gate: closed(),
            hidden: LinearConfig::new(token, 2 * token).init(device),
            output: LinearConfig::new(2 * token, token).init(device),
            hidden_gate: closed(),
            norm: LayerNormConfig::new(shape.embedding).init(device),
            perceptron: Perceptron::new(shape.embedding, dropout, device),
        }
    }

    /// The head with both gates at `value`.
    #[cfg(test)]
    pub(super) fn opened(mut self, value: f32) -> Self {
        let gate = |gate: Param<Tensor<B, 1>>| gate.map(|g| g.full_like(value));
        (self.attention_gate, self.hidden_gate) = (gate(self.attention_gate), gate(self.hidden_gate));
        self
    }

    /// `[N]`, in the unit of the training scores.
    pub fn forward(&self, input: HeadInput<B>) -> Tensor<B, 1> {
        let [n, length] = input.image.dims();
        let token = length / TOKENS;
        let tokens = |x: Tensor<B, 2>| x.reshape([n, TOKENS, token]);
        let image = tokens(input.image);
        let gate = |gate: &Param<Tensor<B, 1>>| gate.val().tanh().reshape([1, 1, 1]);
        let found = self.attention.forward(image.clone(), tokens(input.text), Mask::Nothing);
        let x = image + found * gate(&self.attention_gate);
        let hidden = relu(self.hidden.forward(x.clone().reshape([n * TOKENS, token])));
        let changed = self.output.forward(hidden).reshape([n, TOKENS, token]);
        let x = x + changed * gate(&self.hidden_gate);
        self.perceptron.forward(self.norm.forward(x.reshape([n, length])))
    }

    /// Writes the head up to its `[N, 1]`.
    pub fn export(&self, g: &mut GraphBuilder, shape: HeadShape) -> Value {
        let [image, text] = embedding_inputs(g, shape);
        let cut = [-1, TOKENS as i64, (shape.embedding / TOKENS) as i64];
        let (image, text) = (g.reshape(&image, &cut), g.reshape(&text, &cut));
        let found = self.attention.export(g, &image, &text, Mask::Nothing, [TOKENS, TOKENS]);
        let open = |gate: &Param<Tensor<B, 1>>| weights(gate).first().copied().unwrap_or(0.0).tanh();
        let found = g.affine(&found, open(&self.attention_gate), 0.0);
        let x = g.add(&image, &found);
        let hidden = export_linear(&self.hidden, g, &x);
        let hidden = g.relu(&hidden);
        let changed = export_linear(&self.output, g, &hidden);
        let changed = g.affine(&changed, open(&self.hidden_gate), 0.0);
        let x = g.add(&x, &changed);
        let fused = g.reshape(&x, &[-1, shape.embedding as i64]);
        let fused = export_layer_norm(&self.norm, g, &fused, LAYER_NORM_EPSILON);
        self.perceptron.export(g, &fused)
    }
}
