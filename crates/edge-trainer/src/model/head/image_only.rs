//! The image embedding alone: the model without text that tagged ones are measured against. Every tag gives the same score.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::perceptron::Perceptron;
use super::{HeadInput, HeadShape};
use crate::model::layers::{LAYER_NORM_EPSILON, export_layer_norm};
use crate::onnx::{Dim, GraphBuilder, Value};

/// `image_embedding [N, D]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct ImageOnly<B: Backend> {
    norm: LayerNorm<B>,
    perceptron: Perceptron<B>,
}

impl<B: Backend> ImageOnly<B> {
    /// A fresh head.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        Self {
            norm: LayerNormConfig::new(shape.embedding).init(device),
            perceptron: Perceptron::new(shape.embedding, dropout, device),
        }
    }

    /// `[N]`, in the unit of the training scores.
    pub fn forward(&self, input: HeadInput<B>) -> Tensor<B, 1> {
        self.perceptron.forward(self.norm.forward(input.image))
    }

    /// Writes the head up to its `[N, 1]`.
    pub fn export(&self, g: &mut GraphBuilder, shape: HeadShape) -> Value {
        let image = g.input_f32("image_embedding", &[Dim::Batch, Dim::Fixed(shape.embedding)]);
        let fused = export_layer_norm(&self.norm, g, &image, LAYER_NORM_EPSILON);
        self.perceptron.export(g, &fused)
    }
}
