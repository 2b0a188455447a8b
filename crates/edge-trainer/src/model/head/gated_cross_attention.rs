//! Gated cross-attention (Alayrac et al., "Flamingo: a visual language model for few-shot learning", 2022): tokens of the image
//! embedding attend to tokens of the text embedding, and the result is multiplied by a gate `tanh(a)` that starts at zero. Training
//! therefore starts from a head without text and adds as much of the tag as helps. A new tag can be scored from
//! stored embeddings.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::perceptron::Perceptron;
use super::shape::{ATTENTION_HEADS, HeadShape, TOKENS, widen, widened};
use crate::model::layers::{Attention, LAYER_NORM_EPSILON, Mask};
use crate::model::ops::LayerOps;

/// `image_embedding [N, D]`, `text_embedding [N, E]` -> `score [N]`. If E is not D, a linear layer brings the text to the length D.
#[derive(Module, Debug)]
pub struct GatedCrossAttention<B: Backend> {
    widen: Option<Linear<B>>,
    attention: Attention<B>,
    attention_gate: Param<Tensor<B, 1>>,
    hidden: Linear<B>,
    output: Linear<B>,
    hidden_gate: Param<Tensor<B, 1>>,
    norm: LayerNorm<B>,
    perceptron: Perceptron<B>,
}

impl<B: Backend> GatedCrossAttention<B> {
    /// Random weights and closed gates.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        let token = shape.embedding / TOKENS;
        let closed = || Param::from_tensor(Tensor::zeros([1], device));
        Self {
            widen: widen(shape, device),
            attention: Attention::new(token, ATTENTION_HEADS, device),
            attention_gate: closed(),
            hidden: LinearConfig::new(token, 2 * token).init(device),
            output: LinearConfig::new(2 * token, token).init(device),
            hidden_gate: closed(),
            norm: LayerNormConfig::new(shape.embedding).init(device),
            perceptron: Perceptron::new(shape.embedding, dropout, device),
        }
    }

    /// The head with both gates set to `value`.
    #[cfg(test)]
    pub(super) fn opened(mut self, value: f32) -> Self {
        let gate = |gate: Param<Tensor<B, 1>>| gate.map(|g| g.full_like(value));
        (self.attention_gate, self.hidden_gate) = (gate(self.attention_gate), gate(self.hidden_gate));
        self
    }

    /// `[N, 1]`, in the unit of the training scores.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, image: O::Tensor<2>, text: O::Tensor<2>) -> O::Tensor<2> {
        let length = self.norm.gamma.dims()[0];
        let text = widened(self.widen.as_ref(), ops, text);
        let cut = [-1, TOKENS as i64, (length / TOKENS) as i64];
        let (image, text) = (ops.reshape(image, cut), ops.reshape(text, cut));
        let attended = self.attention.forward(ops, image.clone(), text, Mask::Nothing, [TOKENS, TOKENS]);
        let attended = ops.gated(&self.attention_gate, attended);
        let x = ops.add(image, attended);
        let hidden = ops.linear(&self.hidden, x.clone());
        let hidden = ops.relu(hidden);
        let changed = ops.linear(&self.output, hidden);
        let changed = ops.gated(&self.hidden_gate, changed);
        let x = ops.add(x, changed);
        let fused = ops.reshape(x, [-1, length as i64]);
        let fused = ops.layer_norm(&self.norm, LAYER_NORM_EPSILON, fused);
        self.perceptron.forward(ops, fused)
    }
}
