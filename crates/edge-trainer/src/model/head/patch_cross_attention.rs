//! The tag's tokens look at the image's patches; what they find, and what they are, is averaged over the text, added to the image
//! embedding, and a perceptron reads the score. A new tag needs the image again.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::perceptron::Perceptron;
use super::{HEADS, HeadInput, HeadShape};
use crate::model::layers::{Attention, LAYER_NORM_EPSILON, Mask, export_layer_norm, export_linear};
use crate::onnx::{Dim, GraphBuilder, Value};

/// `image_embedding [N, D]`, `patch_tokens [N, P, W]`, `text_embedding [N, D]` (not read), `token_states [N, T, V]`,
/// `token_mask [N, T]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct PatchCrossAttention<B: Backend> {
    state_norm: LayerNorm<B>,
    query: Linear<B>,
    patch_norm: LayerNorm<B>,
    attention: Attention<B>,
    norm: LayerNorm<B>,
    perceptron: Perceptron<B>,
}

impl<B: Backend> PatchCrossAttention<B> {
    /// A fresh head.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        let HeadShape { embedding, patches: [_, patch], tokens: [_, state], .. } = shape;
        Self {
            state_norm: LayerNormConfig::new(state).init(device),
            query: LinearConfig::new(state, embedding).init(device),
            patch_norm: LayerNormConfig::new(patch).init(device),
            attention: Attention::between([embedding, patch], embedding, HEADS, device),
            norm: LayerNormConfig::new(embedding).init(device),
            perceptron: Perceptron::new(embedding, dropout, device),
        }
    }

    /// `[N]`, in the unit of the training scores.
    ///
    /// # Panics
    /// Without patch tokens and token states: [`super::problem`] refuses backbones that have none.
    pub fn forward(&self, input: HeadInput<B>) -> Tensor<B, 1> {
        let (Some(patches), Some((states, mask))) = (input.patches, input.tokens) else {
            panic!("a head over patches was given none")
        };
        let ([n, t, v], d) = (states.dims(), input.image.dims()[1]);
        let states = self.state_norm.forward(states).reshape([n * t, v]);
        let query = self.query.forward(states).reshape([n, t, d]);
        let found = self.attention.forward(query.clone(), self.patch_norm.forward(patches), Mask::Nothing);
        let column = mask.clone().reshape([n, t, 1]);
        let sum = ((query + found) * column).sum_dim(1).reshape([n, d]);
        self.perceptron.forward(self.norm.forward(input.image + sum / mask.sum_dim(1)))
    }

    /// Writes the head up to its `[N, 1]`.
    pub fn export(&self, g: &mut GraphBuilder, shape: HeadShape) -> Value {
        let HeadShape { embedding, patches: [p, w], tokens: [t, v], .. } = shape;
        let embedding_dims = [Dim::Batch, Dim::Fixed(embedding)];
        let image = g.input_f32("image_embedding", &embedding_dims);
        let patches = g.input_f32("patch_tokens", &[Dim::Batch, Dim::Fixed(p), Dim::Fixed(w)]);
        let _ = g.input_f32("text_embedding", &embedding_dims);
        let states = g.input_f32("token_states", &[Dim::Batch, Dim::Fixed(t), Dim::Fixed(v)]);
        let mask = g.input_f32("token_mask", &[Dim::Batch, Dim::Fixed(t)]);

        let states = export_layer_norm(&self.state_norm, g, &states, LAYER_NORM_EPSILON);
        let query = export_linear(&self.query, g, &states);
        let patches = export_layer_norm(&self.patch_norm, g, &patches, LAYER_NORM_EPSILON);
        let found = self.attention.export(g, &query, &patches, Mask::Nothing, [t, p]);
        let seen = g.add(&query, &found);
        let column = g.reshape(&mask, &[-1, t as i64, 1]);
        let masked = g.mul(&seen, &column);
        let sum = g.sum(&masked, &[1]);
        let count = g.sum(&column, &[1]);
        let mean = g.div(&sum, &count);
        let fused = g.add(&image, &mean);
        let fused = export_layer_norm(&self.norm, g, &fused, LAYER_NORM_EPSILON);
        self.perceptron.export(g, &fused)
    }
}
