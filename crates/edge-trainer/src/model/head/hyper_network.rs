//! A hypernetwork (Ha, Dai, Le, 2017; for image aesthetics Celona et al., "Composition and style attributes guided image aesthetic
//! assessment", 2022): the tag gives the weights of a small network that reads the image embedding. A new tag can be scored from
//! stored embeddings.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::backend::Backend;

use super::shape::HeadShape;
use crate::model::layers::{LAYER_NORM_EPSILON, scaled};
use crate::model::ops::LayerOps;

/// Length of the vector that the text embedding is reduced to. The small network's weights are computed from it.
const CODE_SIZE: usize = 64;
/// Hidden units of the small network whose weights the tag gives.
const UNITS: usize = 16;

/// `image_embedding [N, D]`, `text_embedding [N, E]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct HyperNetwork<B: Backend> {
    image_norm: LayerNorm<B>,
    text_norm: LayerNorm<B>,
    code: Linear<B>,
    /// From the reduced text embedding to the weights `[D, UNITS]` of the small network's first layer.
    first: Linear<B>,
    /// From the reduced text embedding to the small network's other parameters: biases of the first layer, weights and bias of the
    /// second layer.
    rest: Linear<B>,
}

impl<B: Backend> HyperNetwork<B> {
    /// Random weights. The head has no dropout: it would drop weights of the small network.
    pub fn new(shape: HeadShape, device: &B::Device) -> Self {
        let d = shape.embedding;
        // The first weights of the small network start with a variance of about 1 / D, as those of a layer with D inputs do.
        let shrink = (1.0 / d as f64).sqrt();
        let first = LinearConfig::new(CODE_SIZE, d * UNITS).init(device);
        let first = scaled(first, [shrink, (CODE_SIZE as f64 / d as f64).sqrt()]);
        Self {
            image_norm: LayerNormConfig::new(d).init(device),
            text_norm: LayerNormConfig::new(shape.text).init(device),
            code: LinearConfig::new(shape.text, CODE_SIZE).init(device),
            first,
            rest: LinearConfig::new(CODE_SIZE, 2 * UNITS + 1).init(device),
        }
    }

    /// `[N, 1]`, in the unit of the training scores.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, image: O::Tensor<2>, text: O::Tensor<2>) -> O::Tensor<2> {
        let (d, units) = (self.image_norm.gamma.dims()[0] as i64, UNITS as i64);
        let image = ops.layer_norm(&self.image_norm, LAYER_NORM_EPSILON, image);
        let image = ops.reshape(image, [-1, 1, d]);
        let text = ops.layer_norm(&self.text_norm, LAYER_NORM_EPSILON, text);
        let code = ops.linear(&self.code, text);
        let code = ops.relu(code);
        let first = ops.linear(&self.first, code.clone());
        let first = ops.reshape(first, [-1, d, units]);
        let rest = ops.linear(&self.rest, code);
        let bias = ops.slice(rest.clone(), 1, 0..UNITS);
        let second = ops.slice(rest.clone(), 1, UNITS..2 * UNITS);
        let last = ops.slice(rest, 1, 2 * UNITS..2 * UNITS + 1);
        let hidden = ops.matmul(image, first);
        let hidden = ops.reshape(hidden, [-1, units]);
        let hidden = ops.add(hidden, bias);
        let hidden = ops.relu(hidden);
        let product = ops.mul(hidden, second);
        let sum: O::Tensor<1> = ops.sum(product, 1);
        let sum = ops.reshape(sum, [-1, 1]);
        ops.add(sum, last)
    }
}
