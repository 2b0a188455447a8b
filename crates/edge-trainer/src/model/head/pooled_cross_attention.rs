//! Tokens cut from the text embedding attend to tokens cut from the image embedding. The result is added to both embeddings, and a
//! perceptron reads the score from the sum. A new tag can be scored from stored embeddings.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::backend::Backend;

use super::perceptron::Perceptron;
use super::shape::{ATTENTION_HEADS, HeadShape, TOKENS, widen, widened};
use crate::model::layers::{Attention, LAYER_NORM_EPSILON, Mask};
use crate::model::ops::LayerOps;

/// `image_embedding [N, D]`, `text_embedding [N, E]` -> `score [N]`. If E is not D, a linear layer brings the text to the length D.
///
/// Both sequences have more than one token, so the attention weights depend on the text. The residual path carries both embeddings.
/// No attention weight can therefore shut out the image. The text need not reach the score through the attention weights alone, which
/// small models learn slowly (the styles of `make-data style` in BENCHMARKS.md).
#[derive(Module, Debug)]
pub struct PooledCrossAttention<B: Backend> {
    widen: Option<Linear<B>>,
    attention: Attention<B>,
    norm: LayerNorm<B>,
    perceptron: Perceptron<B>,
}

impl<B: Backend> PooledCrossAttention<B> {
    /// Creates a head with random weights.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        Self {
            widen: widen(shape, device),
            attention: Attention::new(shape.embedding / TOKENS, ATTENTION_HEADS, device),
            norm: LayerNormConfig::new(shape.embedding).init(device),
            perceptron: Perceptron::new(shape.embedding, dropout, device),
        }
    }

    /// `[N, 1]`, in the unit of the training scores.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, image: O::Tensor<2>, text: O::Tensor<2>) -> O::Tensor<2> {
        let length = self.norm.gamma.dims()[0];
        let text = widened(self.widen.as_ref(), ops, text);
        let cut = [-1, TOKENS as i64, (length / TOKENS) as i64];
        let image_tokens = ops.reshape(image.clone(), cut);
        let text_tokens = ops.reshape(text.clone(), cut);
        let attended = self.attention.forward(ops, text_tokens, image_tokens, Mask::Nothing, [TOKENS, TOKENS]);
        let attended = ops.reshape(attended, [-1, length as i64]);
        let embeddings = ops.add(image, text);
        let fused = ops.add(embeddings, attended);
        let fused = ops.layer_norm(&self.norm, LAYER_NORM_EPSILON, fused);
        self.perceptron.forward(ops, fused)
    }
}
