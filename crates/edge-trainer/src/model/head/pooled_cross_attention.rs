//! Tokens cut from the text embedding look at tokens cut from the image embedding; what they find is added to both embeddings,
//! and a perceptron reads the score. Stored embeddings suffice.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::perceptron::Perceptron;
use super::{HEADS, HeadInput, HeadShape, TOKENS, embedding_inputs};
use crate::model::layers::{Attention, LAYER_NORM_EPSILON, Mask, export_layer_norm};
use crate::onnx::{GraphBuilder, Value};

/// `image_embedding [N, D]`, `text_embedding [N, D]` -> `score [N]`.
///
/// Both sequences have more than one token, so the attention's shares depend on the text. The residual path holds the image, as
/// that no share can close, and the text, which would otherwise reach the score through the shares alone: small models learn
/// those slowly (the styles of `make-data style` in BENCHMARKS.md).
#[derive(Module, Debug)]
pub struct PooledCrossAttention<B: Backend> {
    attention: Attention<B>,
    norm: LayerNorm<B>,
    perceptron: Perceptron<B>,
}

impl<B: Backend> PooledCrossAttention<B> {
    /// A fresh head.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        Self {
            attention: Attention::new(shape.embedding / TOKENS, HEADS, device),
            norm: LayerNormConfig::new(shape.embedding).init(device),
            perceptron: Perceptron::new(shape.embedding, dropout, device),
        }
    }

    /// `[N]`, in the unit of the training scores.
    pub fn forward(&self, input: HeadInput<B>) -> Tensor<B, 1> {
        let [n, length] = input.image.dims();
        let tokens = |x: Tensor<B, 2>| x.reshape([n, TOKENS, length / TOKENS]);
        let found = self.attention.forward(tokens(input.text.clone()), tokens(input.image.clone()), Mask::Nothing);
        self.perceptron.forward(self.norm.forward(input.image + input.text + found.reshape([n, length])))
    }

    /// Writes the head up to its `[N, 1]`.
    pub fn export(&self, g: &mut GraphBuilder, shape: HeadShape) -> Value {
        let [image, text] = embedding_inputs(g, shape);
        let cut = [-1, TOKENS as i64, (shape.embedding / TOKENS) as i64];
        let image_tokens = g.reshape(&image, &cut);
        let text_tokens = g.reshape(&text, &cut);
        let found = self.attention.export(g, &text_tokens, &image_tokens, Mask::Nothing, [TOKENS, TOKENS]);
        let found = g.reshape(&found, &[-1, shape.embedding as i64]);
        let embeddings = g.add(&image, &text);
        let fused = g.add(&embeddings, &found);
        let fused = export_layer_norm(&self.norm, g, &fused, LAYER_NORM_EPSILON);
        self.perceptron.export(g, &fused)
    }
}
