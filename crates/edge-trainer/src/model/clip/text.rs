//! CLIP's text encoder: a causal transformer, pooled at the end of the text.

use burn::module::{Module, Param, ParamId, list_param_ids};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::config::ClipConfig;
use super::transformer::Transformer;
use crate::model::load;
use crate::model::ops::{LayerOps, TensorOps};
use crate::onnx::{Dim, GraphBuilder};
use crate::weights::{WeightError, WeightSource};

/// The encoding of N prompts.
pub struct EncodedText<O: TensorOps> {
    /// `text_embedding [N, D]`.
    pub embedding: O::Tensor<2>,
    /// `token_states [N, T, W]`, after the last normalisation.
    pub states: O::Tensor<3>,
    /// `token_mask [N, T]`, 1 up to the end of the text, 0 behind it.
    pub mask: O::Tensor<2>,
}

/// CLIP's text encoder: `input_ids [N, T]` -> [`EncodedText`].
#[derive(Module, Debug)]
pub struct ClipText<B: Backend> {
    tokens: Param<Tensor<B, 2>>,
    positions: Param<Tensor<B, 2>>,
    transformer: Transformer<B>,
    norm: LayerNorm<B>,
    projection: Linear<B>,
    /// The id that ends a text; `None` if the highest id in the text ends it.
    end_of_text: Option<i64>,
    epsilon: f64,
}

impl<B: Backend> ClipText<B> {
    /// Reads the encoder's weights.
    ///
    /// # Errors
    /// [`WeightError`].
    pub fn load(weights: &mut dyn WeightSource, config: &ClipConfig, device: &B::Device) -> Result<Self, WeightError> {
        let text = config.text;
        let (width, epsilon) = (text.transformer.width, text.transformer.epsilon);
        let key = |name: &str| format!("text_model.{name}");
        Ok(Self {
            tokens: load::tensor(weights, &key("embeddings.token_embedding.weight"), [text.vocab_size, width], device)?,
            positions: load::tensor(
                weights,
                &key("embeddings.position_embedding.weight"),
                [text.positions, width],
                device,
            )?,
            transformer: Transformer::load(weights, &key("encoder"), text.transformer, true, device)?,
            norm: load::layer_norm(weights, &key("final_layer_norm"), width, epsilon, device)?,
            projection: load::linear(weights, "text_projection", [width, config.embedding], false, device)?,
            end_of_text: text.end_of_text(),
            epsilon,
        })
    }

    /// Returns the parameter ids of each layer.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        self.transformer.layer_ids()
    }

    /// Returns the parameter ids behind the last layer.
    pub fn ids_behind(&self) -> Vec<ParamId> {
        [list_param_ids(&self.norm), list_param_ids(&self.projection)].concat()
    }

    /// Encodes `ids [N, T]`; `length` is T.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, ids: O::Ids, length: usize) -> EncodedText<O> {
        let x = ops.embed([&self.tokens, &self.positions], ids.clone(), length);
        let x = self.transformer.forward(ops, x, length);
        let states = ops.layer_norm(&self.norm, self.epsilon, x);
        let (at_end, mask) = self.ends(ops, ids, length);
        let column = ops.reshape(at_end, [-1, length as i64, 1]);
        let pooled = ops.mul(states.clone(), column);
        let pooled: O::Tensor<2> = ops.sum(pooled, 1);
        let embedding = ops.linear(&self.projection, pooled);
        EncodedText { embedding, states, mask }
    }

    /// Returns two tables `[N, T]`. The first has 1 at the first end-of-text token, the second has 1 at all tokens up to and including it.
    /// Computes them by products and clipping, so that the engines need neither ArgMax nor CumSum.
    fn ends<O: LayerOps<B>>(&self, ops: &mut O, ids: O::Ids, length: usize) -> (O::Tensor<2>, O::Tensor<2>) {
        let is_end = match self.end_of_text {
            Some(id) => ops.equals(ids, id),
            None => {
                let ids = ops.ids_to_floats(ids);
                let highest = ops.max(ids.clone(), 1);
                let below = ops.sub(ids, highest);
                let at = ops.affine(below, 1.0, 1.0);
                ops.clip(at, 0.0, 1.0)
            }
        };
        let ends_before = ops.matmul_constant(is_end.clone(), &before(length), length);
        let mask = ops.affine(ends_before, -1.0, 1.0);
        let mask = ops.clip(mask, 0.0, 1.0);
        (ops.mul(is_end, mask.clone()), mask)
    }

    /// Writes the encoder for prompts of `length` tokens to `g`. With `with_tokens`, the graph also has the outputs `token_states` and
    /// `token_mask`.
    pub fn export(&self, g: &mut GraphBuilder, length: usize, with_tokens: bool) {
        let ids = g.input_i64("input_ids", &[Dim::Batch, Dim::Fixed(length)]);
        let encoded = self.forward(g, ids, length);
        let (width, dim) = (self.tokens.dims()[1], self.projection.weight.dims()[1]);
        g.output_f32("text_embedding", &encoded.embedding, &[Dim::Batch, Dim::Fixed(dim)]);
        if with_tokens {
            g.output_f32("token_states", &encoded.states, &[Dim::Batch, Dim::Fixed(length), Dim::Fixed(width)]);
            g.output_f32("token_mask", &encoded.mask, &[Dim::Batch, Dim::Fixed(length)]);
        }
    }
}

/// Returns a table `[T, T]` with 1 where the row's position is before the column's. A row of marks times this table counts the marks before
/// each position.
fn before(length: usize) -> Vec<f32> {
    (0..length * length).map(|at| if at / length < at % length { 1.0 } else { 0.0 }).collect()
}
