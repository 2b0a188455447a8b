//! A hypernetwork (Ha, Dai, Le, 2017; for image aesthetics Celona et al., "Composition and style attributes guided image aesthetic
//! assessment", 2022): the weights of a small network over the image embedding come from the tag. Stored embeddings suffice.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

use super::{HeadInput, HeadShape, embedding_inputs};
use crate::model::layers::{LAYER_NORM_EPSILON, export_layer_norm, export_linear, scaled};
use crate::onnx::{GraphBuilder, Value};

/// Length of what the tag is reduced to before the weights are made of it.
const CODE: usize = 64;
/// Hidden units of the network whose weights are made.
const UNITS: usize = 16;

/// `image_embedding [N, D]`, `text_embedding [N, D]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct HyperNetwork<B: Backend> {
    image_norm: LayerNorm<B>,
    text_norm: LayerNorm<B>,
    code: Linear<B>,
    /// Code -> first weights `[D, UNITS]`.
    first: Linear<B>,
    /// Code -> first biases, second weights and the second bias.
    rest: Linear<B>,
}

impl<B: Backend> HyperNetwork<B> {
    /// A fresh head. It has no dropout of its own: the made weights would drop out with it.
    pub fn new(shape: HeadShape, _dropout: f64, device: &B::Device) -> Self {
        let d = shape.embedding;
        // So that the made weights begin with about the variance 1 / D that a layer of their own would begin with.
        let shrink = (1.0 / d as f64).sqrt();
        let first = LinearConfig::new(CODE, d * UNITS).init(device);
        let first = scaled(first, [shrink, (CODE as f64 / d as f64).sqrt()]);
        Self {
            image_norm: LayerNormConfig::new(d).init(device),
            text_norm: LayerNormConfig::new(d).init(device),
            code: LinearConfig::new(d, CODE).init(device),
            first,
            rest: LinearConfig::new(CODE, 2 * UNITS + 1).init(device),
        }
    }

    /// `[N]`, in the unit of the training scores.
    pub fn forward(&self, input: HeadInput<B>) -> Tensor<B, 1> {
        let [n, d] = input.image.dims();
        let image = self.image_norm.forward(input.image).reshape([n, 1, d]);
        let code = relu(self.code.forward(self.text_norm.forward(input.text)));
        let first = self.first.forward(code.clone()).reshape([n, d, UNITS]);
        let rest = self.rest.forward(code);
        let bias = rest.clone().narrow(1, 0, UNITS);
        let second = rest.clone().narrow(1, UNITS, UNITS);
        let last = rest.narrow(1, 2 * UNITS, 1).reshape([n]);
        let hidden = relu(image.matmul(first).reshape([n, UNITS]) + bias);
        (hidden * second).sum_dim(1).reshape([n]) + last
    }

    /// Writes the head up to its `[N, 1]`.
    pub fn export(&self, g: &mut GraphBuilder, shape: HeadShape) -> Value {
        let [image, text] = embedding_inputs(g, shape);
        let (d, units) = (shape.embedding as i64, UNITS as i64);
        let image = export_layer_norm(&self.image_norm, g, &image, LAYER_NORM_EPSILON);
        let image = g.reshape(&image, &[-1, 1, d]);
        let text = export_layer_norm(&self.text_norm, g, &text, LAYER_NORM_EPSILON);
        let code = export_linear(&self.code, g, &text);
        let code = g.relu(&code);
        let first = export_linear(&self.first, g, &code);
        let first = g.reshape(&first, &[-1, d, units]);
        let rest = export_linear(&self.rest, g, &code);
        let bias = g.slice(&rest, 1, 0, units);
        let second = g.slice(&rest, 1, units, 2 * units);
        let last = g.slice(&rest, 1, 2 * units, 2 * units + 1);
        let hidden = g.matmul(&image, &first);
        let hidden = g.reshape(&hidden, &[-1, units]);
        let hidden = g.add(&hidden, &bias);
        let hidden = g.relu(&hidden);
        let product = g.mul(&hidden, &second);
        let sum = g.sum(&product, &[1]);
        let sum = g.reshape(&sum, &[-1, 1]);
        g.add(&sum, &last)
    }
}
