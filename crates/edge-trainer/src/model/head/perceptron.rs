//! What every head ends in: two layers from a fused embedding to one number.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

use crate::model::layers::export_linear;
use crate::onnx::{GraphBuilder, Value};

const HIDDEN: usize = 128;

/// `[N, D] -> [N]`.
#[derive(Module, Debug)]
pub struct Perceptron<B: Backend> {
    hidden: Linear<B>,
    output: Linear<B>,
    dropout: Dropout,
}

impl<B: Backend> Perceptron<B> {
    /// Fresh weights.
    pub fn new(length: usize, dropout: f64, device: &B::Device) -> Self {
        Self {
            hidden: LinearConfig::new(length, HIDDEN).init(device),
            output: LinearConfig::new(HIDDEN, 1).init(device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// `[N, D] -> [N]`.
    pub fn forward(&self, fused: Tensor<B, 2>) -> Tensor<B, 1> {
        let n = fused.dims()[0];
        let hidden = relu(self.hidden.forward(self.dropout.forward(fused)));
        self.output.forward(self.dropout.forward(hidden)).reshape([n])
    }

    /// Writes `[N, D] -> [N, 1]`.
    pub fn export(&self, g: &mut GraphBuilder, fused: &Value) -> Value {
        let hidden = export_linear(&self.hidden, g, fused);
        let hidden = g.relu(&hidden);
        export_linear(&self.output, g, &hidden)
    }
}
