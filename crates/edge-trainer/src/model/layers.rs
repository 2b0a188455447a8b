//! Layers that several networks share: attention over short sequences, and the transformer layer built on it.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::ops::{LayerOps, TensorOps};

/// The epsilon that burn's `LayerNormConfig` sets by default.
pub const LAYER_NORM_EPSILON: f64 = 1e-5;

/// The layer with its weights and its biases multiplied by the given factors. The results are new parameters: the optimizer finds
/// no gradient for a product of tracked weights.
pub fn scaled<B: Backend>(layer: Linear<B>, [weight, bias]: [f64; 2]) -> Linear<B> {
    Linear {
        weight: Param::from_tensor((layer.weight.val() * weight).detach()),
        bias: layer.bias.map(|b| Param::from_tensor((b.val() * bias).detach())),
    }
}

/// Keys that queries must not see.
#[derive(Debug, Clone)]
pub enum Mask<T> {
    /// No key is hidden.
    Nothing,
    /// `[N, K]`, 1 at keys that no query may see, such as padding.
    Keys(T),
    /// The keys at later positions than the query: the causal mask.
    Later,
}

/// Multi-head attention (Vaswani et al., "Attention is all you need", 2017). Queries come from one sequence; keys and values from
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
    /// Random weights for tokens of length `width`, a multiple of `heads`.
    pub fn new(width: usize, heads: usize, device: &B::Device) -> Self {
        Self::between([width, width], width, heads, device)
    }

    /// Random weights for query vectors of length `query` and key vectors of length `key`. Both are projected to `width`, a multiple
    /// of `heads`. Output vectors have the length `width`.
    pub fn between([query, key]: [usize; 2], width: usize, heads: usize, device: &B::Device) -> Self {
        let fresh = |inputs| LinearConfig::new(inputs, width).init(device);
        Self { query: fresh(query), key: fresh(key), value: fresh(key), output: fresh(width), heads }
    }

    /// Attention with the given projections of query, key, value and output.
    pub fn of([query, key, value, output]: [Linear<B>; 4], heads: usize) -> Self {
        Self { query, key, value, output, heads }
    }

    /// `queries [N, Q, _]`, `keys [N, K, _]` -> `[N, Q, W]`; `lengths` are Q and K.
    pub fn forward<O: LayerOps<B>>(
        &self,
        ops: &mut O,
        queries: O::Tensor<3>,
        keys: O::Tensor<3>,
        mask: Mask<O::Tensor<2>>,
        lengths: [usize; 2],
    ) -> O::Tensor<3> {
        let width = self.query.weight.dims()[1];
        let (heads, head) = (self.heads as i64, (width / self.heads) as i64);
        let [q, k] = lengths.map(|length| length as i64);
        let query = ops.mixed_linear(&self.query, queries);
        let [key, value] = ops.mixed_linears([&self.key, &self.value], keys);
        let query = ops.reshape(query, [-1, q, heads, head]);
        let query = ops.permute(query, [0, 2, 1, 3]);
        let key = ops.reshape(key, [-1, k, heads, head]);
        let key = ops.permute(key, [0, 2, 3, 1]);
        let value = ops.reshape(value, [-1, k, heads, head]);
        let value = ops.permute(value, [0, 2, 1, 3]);
        let logits = ops.mixed_matmul(query, key);
        let logits = ops.affine(logits, 1.0 / (head as f32).sqrt(), 0.0);
        let logits = match mask {
            Mask::Nothing => logits,
            Mask::Keys(blocked) => {
                let penalty = ops.affine(blocked, BLOCKED, 0.0);
                let penalty = ops.reshape(penalty, [-1, 1, 1, k]);
                ops.add(logits, penalty)
            }
            Mask::Later => {
                let penalty = ops.constant(&later(lengths[0]), [1, 1, lengths[0], lengths[0]]);
                ops.add(logits, penalty)
            }
        };
        let shares = ops.softmax(logits, 3);
        let mixed = ops.mixed_matmul(shares, value);
        let mixed = ops.permute(mixed, [0, 2, 1, 3]);
        let mixed = ops.reshape(mixed, [-1, q, width as i64]);
        ops.mixed_linear(&self.output, mixed)
    }
}

/// Added to the logit of a hidden key. The key's attention weight is then zero in 32-bit floats.
const BLOCKED: f32 = -1e4;

/// `[T, T]`: the causal mask, added to the logit of query i and key j.
fn later(length: usize) -> Vec<f32> {
    (0..length * length).map(|at| if at % length > at / length { BLOCKED } else { 0.0 }).collect()
}

/// A transformer layer: attention, then a two-layer perceptron. Both work on normalised inputs, and their outputs are added to the
/// inputs before normalisation.
#[derive(Module, Debug)]
pub struct TransformerLayer<B: Backend> {
    /// Normalises the input of the attention.
    pub attention_norm: LayerNorm<B>,
    /// Self-attention between the tokens.
    pub attention: Attention<B>,
    /// Normalises the input of the perceptron.
    pub hidden_norm: LayerNorm<B>,
    /// `[.., W] -> [.., H]`, before the activation.
    pub hidden: Linear<B>,
    /// `[.., H] -> [.., W]`.
    pub output: Linear<B>,
}

impl<B: Backend> TransformerLayer<B> {
    /// Random weights for tokens of length `width`, a multiple of `heads`.
    pub fn new(width: usize, hidden: usize, heads: usize, device: &B::Device) -> Self {
        let norm = || LayerNormConfig::new(width).init(device);
        Self {
            attention_norm: norm(),
            attention: Attention::new(width, heads, device),
            hidden_norm: norm(),
            hidden: LinearConfig::new(width, hidden).init(device),
            output: LinearConfig::new(hidden, width).init(device),
        }
    }

    /// `x [N, T, W] -> [N, T, W]`; `length` is T, `activate` acts on the hidden values.
    pub fn forward<O: LayerOps<B>>(
        &self,
        ops: &mut O,
        (x, length): (O::Tensor<3>, usize),
        mask: Mask<O::Tensor<2>>,
        epsilon: f64,
        activate: impl FnOnce(&mut O, O::Tensor<3>) -> O::Tensor<3>,
    ) -> O::Tensor<3> {
        let seen = ops.layer_norm(&self.attention_norm, epsilon, x.clone());
        let attended = self.attention.forward(ops, seen.clone(), seen, mask, [length, length]);
        let x = ops.add(x, attended);
        let hidden = ops.layer_norm(&self.hidden_norm, epsilon, x.clone());
        let hidden = ops.mixed_linear(&self.hidden, hidden);
        let hidden = activate(ops, hidden);
        let output = ops.mixed_linear(&self.output, hidden);
        ops.add(x, output)
    }
}

/// A parameter that does not learn.
pub fn fixed<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Param<Tensor<B, D>> {
    Param::from_tensor(tensor).set_require_grad(false)
}

/// Keeps the length of a vector from being zero, by which the vector 0 would be divided.
const SHORTEST: f32 = 1e-12;

/// Each row divided by its length.
pub fn unit<O: TensorOps>(ops: &mut O, rows: O::Tensor<2>) -> O::Tensor<2> {
    let squares = ops.mul(rows.clone(), rows.clone());
    let square: O::Tensor<1> = ops.sum(squares, 1);
    let square = ops.reshape(square, [-1, 1]);
    let square = ops.affine(square, 1.0, SHORTEST);
    let length = ops.sqrt(square);
    ops.div(rows, length)
}

/// The cosine of corresponding rows, `[N, D]`, `[N, D]` -> `[N, 1]`; 0 if either is zero.
pub fn cosine<O: TensorOps>(ops: &mut O, a: O::Tensor<2>, b: O::Tensor<2>) -> O::Tensor<2> {
    let (a, b) = (unit(ops, a), unit(ops, b));
    let products = ops.mul(a, b);
    let sum: O::Tensor<1> = ops.sum(products, 1);
    ops.reshape(sum, [-1, 1])
}
