//! A perceptron of two layers, from a fused embedding to one number: the end of most heads.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::backend::Backend;

use crate::model::ops::LayerOps;

const HIDDEN: usize = 128;

/// `[N, D] -> [N, 1]`.
#[derive(Module, Debug)]
pub struct Perceptron<B: Backend> {
    hidden: Linear<B>,
    output: Linear<B>,
    dropout: Dropout,
}

impl<B: Backend> Perceptron<B> {
    /// Random weights for embeddings of length `length`.
    pub fn new(length: usize, dropout: f64, device: &B::Device) -> Self {
        Self {
            hidden: LinearConfig::new(length, HIDDEN).init(device),
            output: LinearConfig::new(HIDDEN, 1).init(device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// `[N, D] -> [N, 1]`.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, fused: O::Tensor<2>) -> O::Tensor<2> {
        let fused = ops.dropout(&self.dropout, fused);
        let hidden = ops.linear(&self.hidden, fused);
        let hidden = ops.relu(hidden);
        let hidden = ops.dropout(&self.dropout, hidden);
        ops.linear(&self.output, hidden)
    }
}
