//! A head that reads the image embedding alone and gives every tag the same score: the baseline for the heads that read text.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig};
use burn::tensor::backend::Backend;

use super::perceptron::Perceptron;
use super::shape::HeadShape;
use crate::model::layers::LAYER_NORM_EPSILON;
use crate::model::ops::LayerOps;

/// `image_embedding [N, D]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct ImageOnly<B: Backend> {
    norm: LayerNorm<B>,
    perceptron: Perceptron<B>,
}

impl<B: Backend> ImageOnly<B> {
    /// Creates a head with random weights.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        Self {
            norm: LayerNormConfig::new(shape.embedding).init(device),
            perceptron: Perceptron::new(shape.embedding, dropout, device),
        }
    }

    /// `[N, D] -> [N, 1]`, in the unit of the training scores.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, image: O::Tensor<2>) -> O::Tensor<2> {
        let normed = ops.layer_norm(&self.norm, LAYER_NORM_EPSILON, image);
        self.perceptron.forward(ops, normed)
    }
}
