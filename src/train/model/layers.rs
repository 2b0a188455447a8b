//! The layers that all parts share: how burn's own ones go into a graph, and attention over short sequences.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;

use crate::train::onnx::{GraphBuilder, Value};

/// What burn's `LayerNormConfig` gives every layer; the layer does not show it.
const LAYER_NORM_EPSILON: f32 = 1e-5;

/// The numbers of a tensor, row-major.
pub fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The numbers of a parameter, row-major.
pub fn weights<B: Backend, const D: usize>(param: &Param<Tensor<B, D>>) -> Vec<f32> {
    values(param.val())
}

/// Writes `x [.., I] -> [.., O]`.
pub fn export_linear<B: Backend>(layer: &Linear<B>, g: &mut GraphBuilder, x: &Value) -> Value {
    let outputs = layer.weight.dims()[1];
    let bias = layer.bias.as_ref().map_or_else(|| vec![0.0; outputs], weights);
    g.linear(x, &weights(&layer.weight), &bias)
}

/// Writes the normalisation along the last dimension.
pub fn export_layer_norm<B: Backend>(layer: &LayerNorm<B>, g: &mut GraphBuilder, x: &Value) -> Value {
    let (scale, length) = (weights(&layer.gamma), layer.gamma.dims()[0]);
    let bias = layer.beta.as_ref().map_or_else(|| vec![0.0; length], weights);
    let (scale, bias) = (g.constant(&scale, &[length]), g.constant(&bias, &[length]));
    g.layer_norm(x, &scale, &bias, LAYER_NORM_EPSILON)
}

/// Multi-head attention (Vaswani et al., "Attention is all you need", 2017), queries from one sequence, keys and values from
/// another or the same.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    query: Linear<B>,
    key: Linear<B>,
    value: Linear<B>,
    output: Linear<B>,
    heads: usize,
}

impl<B: Backend> Attention<B> {
    /// `width` is the length of every token, a multiple of `heads`.
    pub fn new(width: usize, heads: usize, device: &B::Device) -> Self {
        let linear = || LinearConfig::new(width, width).init(device);
        Self { query: linear(), key: linear(), value: linear(), output: linear(), heads }
    }

    /// `queries [N, Q, W]`, `keys [N, K, W]` -> `[N, Q, W]`. `blocked [N, K]` is 1 at keys that nobody may look at.
    pub fn forward(&self, queries: Tensor<B, 3>, keys: Tensor<B, 3>, blocked: Option<Tensor<B, 2>>) -> Tensor<B, 3> {
        let [n, q, width] = queries.dims();
        let k = keys.dims()[1];
        let head = width / self.heads;
        // Linear is much faster on two dimensions than on three.
        let queries = queries.reshape([n * q, width]);
        let keys = keys.reshape([n * k, width]);
        let split = |x: Tensor<B, 2>, length| x.reshape([n, length, self.heads, head]).swap_dims(1, 2);
        let query = split(self.query.forward(queries), q);
        let key = split(self.key.forward(keys.clone()), k);
        let value = split(self.value.forward(keys), k);
        let mut logits = query.matmul(key.swap_dims(2, 3)) * scale(head);
        if let Some(blocked) = blocked {
            logits = logits + (blocked * BLOCKED).reshape([n, 1, 1, k]);
        }
        let mixed = softmax(logits, 3).matmul(value).swap_dims(1, 2).reshape([n * q, width]);
        self.output.forward(mixed).reshape([n, q, width])
    }

    /// Writes [`Attention::forward`]; `lengths` are Q and K.
    pub fn export(
        &self,
        g: &mut GraphBuilder,
        queries: &Value,
        keys: &Value,
        blocked: Option<&Value>,
        lengths: [usize; 2],
    ) -> Value {
        let width = self.query.weight.dims()[0];
        let (heads, head) = (self.heads as i64, (width / self.heads) as i64);
        let [q, k] = lengths.map(|l| l as i64);
        let query = export_linear(&self.query, g, queries);
        let key = export_linear(&self.key, g, keys);
        let value = export_linear(&self.value, g, keys);
        let query = g.reshape(&query, &[-1, q, heads, head]);
        let query = g.transpose(&query, &[0, 2, 1, 3]);
        let key = g.reshape(&key, &[-1, k, heads, head]);
        let key = g.transpose(&key, &[0, 2, 3, 1]);
        let value = g.reshape(&value, &[-1, k, heads, head]);
        let value = g.transpose(&value, &[0, 2, 1, 3]);
        let logits = g.matmul(&query, &key);
        let mut logits = g.affine(&logits, scale(head as usize), 0.0);
        if let Some(blocked) = blocked {
            let penalty = g.affine(blocked, BLOCKED, 0.0);
            let penalty = g.reshape(&penalty, &[-1, 1, 1, k]);
            logits = g.add(&logits, &penalty);
        }
        let shares = g.softmax(&logits, 3);
        let mixed = g.matmul(&shares, &value);
        let mixed = g.transpose(&mixed, &[0, 2, 1, 3]);
        let mixed = g.reshape(&mixed, &[-1, q, width as i64]);
        export_linear(&self.output, g, &mixed)
    }
}

/// Added to the logit of a blocked key: its share is then zero in 32-bit floats.
const BLOCKED: f32 = -1e4;

fn scale(head: usize) -> f32 {
    1.0 / (head as f32).sqrt()
}
