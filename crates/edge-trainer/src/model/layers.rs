//! The layers that all parts share: how burn's own ones go into a graph, and attention over short sequences.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::mixed::{linear, matmul};
use crate::onnx::{GraphBuilder, Value};

/// What burn's `LayerNormConfig` gives every layer that asks for nothing else; the layer does not show it.
pub const LAYER_NORM_EPSILON: f64 = 1e-5;

/// The numbers of a tensor, row-major.
pub fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The numbers of a parameter, row-major.
pub fn weights<B: Backend, const D: usize>(param: &Param<Tensor<B, D>>) -> Vec<f32> {
    values(param.val())
}

/// The layer with its weights and its biases multiplied. They begin anew for the optimizer: a product of tracked weights would get
/// no gradient.
pub fn scaled<B: Backend>(layer: Linear<B>, [weight, bias]: [f64; 2]) -> Linear<B> {
    Linear {
        weight: Param::from_tensor((layer.weight.val() * weight).detach()),
        bias: layer.bias.map(|b| Param::from_tensor((b.val() * bias).detach())),
    }
}

/// Writes `x [.., I] -> [.., O]`.
pub fn export_linear<B: Backend>(layer: &Linear<B>, g: &mut GraphBuilder, x: &Value) -> Value {
    let outputs = layer.weight.dims()[1];
    let bias = layer.bias.as_ref().map_or_else(|| vec![0.0; outputs], weights);
    g.linear(x, &weights(&layer.weight), &bias)
}

/// Writes the normalisation along the last dimension.
pub fn export_layer_norm<B: Backend>(layer: &LayerNorm<B>, g: &mut GraphBuilder, x: &Value, epsilon: f64) -> Value {
    let (scale, length) = (weights(&layer.gamma), layer.gamma.dims()[0]);
    let bias = layer.beta.as_ref().map_or_else(|| vec![0.0; length], weights);
    let (scale, bias) = (g.constant(&scale, &[length]), g.constant(&bias, &[length]));
    g.layer_norm(x, &scale, &bias, epsilon as f32)
}

/// What a query may not look at. `T` is a tensor or a value of the graph.
#[derive(Debug, Clone)]
pub enum Mask<T> {
    /// Everything may be seen.
    Nothing,
    /// `[N, K]`, 1 at keys that nobody may look at, such as padding.
    Keys(T),
    /// The keys behind the query itself: the causal mask.
    Later,
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
        Self::between([width, width], width, heads, device)
    }

    /// Tokens of one length look at tokens of another; both are brought to `width`, a multiple of `heads`, which is also the
    /// length of what is found.
    pub fn between([query, key]: [usize; 2], width: usize, heads: usize, device: &B::Device) -> Self {
        let fresh = |inputs| LinearConfig::new(inputs, width).init(device);
        Self { query: fresh(query), key: fresh(key), value: fresh(key), output: fresh(width), heads }
    }

    /// Attention with weights that are at hand: query, key, value, output.
    pub fn of([query, key, value, output]: [Linear<B>; 4], heads: usize) -> Self {
        Self { query, key, value, output, heads }
    }

    /// `queries [N, Q, _]`, `keys [N, K, _]` -> `[N, Q, W]`.
    pub fn forward(&self, queries: Tensor<B, 3>, keys: Tensor<B, 3>, mask: Mask<Tensor<B, 2>>) -> Tensor<B, 3> {
        let ([n, q, query_length], [_, k, key_length]) = (queries.dims(), keys.dims());
        let width = self.query.weight.dims()[1];
        let head = width / self.heads;
        let queries = queries.reshape([n * q, query_length]);
        let keys = keys.reshape([n * k, key_length]);
        let split = |x: Tensor<B, 2>, length| x.reshape([n, length, self.heads, head]).swap_dims(1, 2);
        let query = split(linear(&self.query, queries), q);
        let key = split(linear(&self.key, keys.clone()), k);
        let value = split(linear(&self.value, keys), k);
        let logits = matmul(query, key.swap_dims(2, 3)) * scale(head);
        let logits = match mask {
            Mask::Nothing => logits,
            Mask::Keys(blocked) => logits + (blocked * BLOCKED).reshape([n, 1, 1, k]),
            Mask::Later => {
                let later = TensorData::new(later(q), [1, 1, q, q]);
                logits.clone() + Tensor::from_data(later, &logits.device())
            }
        };
        let mixed = matmul(softmax(logits, 3), value).swap_dims(1, 2).reshape([n * q, width]);
        let outputs = self.output.weight.dims()[1];
        linear(&self.output, mixed).reshape([n, q, outputs])
    }

    /// Writes [`Attention::forward`]; `lengths` are Q and K.
    pub fn export(
        &self,
        g: &mut GraphBuilder,
        queries: &Value,
        keys: &Value,
        mask: Mask<&Value>,
        lengths: [usize; 2],
    ) -> Value {
        let width = self.query.weight.dims()[1];
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
        match mask {
            Mask::Nothing => {}
            Mask::Keys(blocked) => {
                let penalty = g.affine(blocked, BLOCKED, 0.0);
                let penalty = g.reshape(&penalty, &[-1, 1, 1, k]);
                logits = g.add(&logits, &penalty);
            }
            Mask::Later => {
                let penalty = g.constant(&later(lengths[0]), &[1, 1, lengths[0], lengths[0]]);
                logits = g.add(&logits, &penalty);
            }
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

/// `[T, T]`: what the causal mask adds to the logit of query i and key j.
fn later(length: usize) -> Vec<f32> {
    (0..length * length).map(|at| if at % length > at / length { BLOCKED } else { 0.0 }).collect()
}

fn scale(head: usize) -> f32 {
    1.0 / (head as f32).sqrt()
}
