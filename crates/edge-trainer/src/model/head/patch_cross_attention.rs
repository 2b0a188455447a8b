//! The tag's tokens attend to the image's patches. The result for each token is added to the token. The mean over the tokens is added
//! to the image embedding, and a perceptron reads the score from the sum. To score a new tag, the image must be encoded again.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::backend::Backend;

use super::perceptron::Perceptron;
use super::shape::{ATTENTION_HEADS, HeadShape};
use crate::model::layers::{Attention, LAYER_NORM_EPSILON, Mask};
use crate::model::ops::LayerOps;

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
    /// Creates a head with random weights.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        let HeadShape { embedding, patches: [_, patch], tokens: [_, state], .. } = shape;
        Self {
            state_norm: LayerNormConfig::new(state).init(device),
            query: LinearConfig::new(state, embedding).init(device),
            patch_norm: LayerNormConfig::new(patch).init(device),
            attention: Attention::between([embedding, patch], embedding, ATTENTION_HEADS, device),
            norm: LayerNormConfig::new(embedding).init(device),
            perceptron: Perceptron::new(embedding, dropout, device),
        }
    }

    /// `[N, 1]`, in the unit of the training scores. `states` and `mask` are the text's; `lengths` are T and P.
    pub fn forward<O: LayerOps<B>>(
        &self,
        ops: &mut O,
        image: O::Tensor<2>,
        patches: O::Tensor<3>,
        (states, mask): (O::Tensor<3>, O::Tensor<2>),
        lengths: [usize; 2],
    ) -> O::Tensor<2> {
        let states = ops.layer_norm(&self.state_norm, LAYER_NORM_EPSILON, states);
        let query = ops.linear(&self.query, states);
        let patches = ops.layer_norm(&self.patch_norm, LAYER_NORM_EPSILON, patches);
        let attended = self.attention.forward(ops, query.clone(), patches, Mask::Nothing, lengths);
        let seen = ops.add(query, attended);
        let column = ops.reshape(mask, [-1, lengths[0] as i64, 1]);
        let masked = ops.mul(seen, column.clone());
        let sum: O::Tensor<2> = ops.sum(masked, 1);
        let count = ops.sum(column, 1);
        let mean = ops.div(sum, count);
        let fused = ops.add(image, mean);
        let fused = ops.layer_norm(&self.norm, LAYER_NORM_EPSILON, fused);
        self.perceptron.forward(ops, fused)
    }
}
