//! CLIP's text encoder: a causal transformer, pooled where the text ends.

use burn::module::{Module, Param, ParamId, list_param_ids};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::config::ClipConfig;
use super::transformer::Transformer;
use crate::model::layers::{export_layer_norm, export_linear, weights};
use crate::model::load;
use crate::onnx::{Dim, GraphBuilder, Value};
use crate::weights::{WeightError, WeightSource};

/// What the encoder says of N prompts.
#[derive(Debug, Clone)]
pub struct EncodedText<B: Backend> {
    /// `text_embedding [N, D]`.
    pub embedding: Tensor<B, 2>,
    /// `token_states [N, T, W]`, after the last normalisation.
    pub states: Tensor<B, 3>,
    /// `token_mask [N, T]`, 1 up to the end of the text, 0 behind it.
    pub mask: Tensor<B, 2>,
}

/// `input_ids [N, T]` -> [`EncodedText`].
#[derive(Module, Debug)]
pub struct ClipText<B: Backend> {
    tokens: Param<Tensor<B, 2>>,
    positions: Param<Tensor<B, 2>>,
    transformer: Transformer<B>,
    norm: LayerNorm<B>,
    projection: Linear<B>,
    /// The id that ends a text; `None`: the highest id in it.
    end_of_text: Option<i64>,
    epsilon: f64,
}

impl<B: Backend> ClipText<B> {
    /// Takes the encoder's weights.
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

    /// The parameters of each layer.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        self.transformer.layer_ids()
    }

    /// The parameters behind the last layer.
    pub fn ids_behind(&self) -> Vec<ParamId> {
        [list_param_ids(&self.norm), list_param_ids(&self.projection)].concat()
    }

    /// `input_ids [N, T]` -> embeddings, token states and their mask.
    pub fn forward(&self, input_ids: Tensor<B, 2, Int>) -> EncodedText<B> {
        let [n, t] = input_ids.dims();
        let width = self.tokens.dims()[1];
        let looked_up = self.tokens.val().select(0, input_ids.clone().reshape([n * t])).reshape([n, t, width]);
        let positions = self.positions.val().narrow(0, 0, t);
        let x = self.transformer.forward(looked_up + positions.unsqueeze::<3>());
        let states = self.norm.forward(x);
        let is_end = match self.end_of_text {
            Some(id) => input_ids.equal_elem(id).float(),
            None => {
                let highest = input_ids.clone().max_dim(1).repeat_dim(1, t);
                input_ids.equal(highest).float()
            }
        };
        let device = is_end.device();
        let table = |values| Tensor::<B, 2>::from_data(TensorData::new(values, [t, t]), &device);
        let ends_before = is_end.clone().matmul(table(before(t)));
        let mask = (ends_before.neg() + 1.0).clamp(0.0, 1.0);
        let at_end = is_end * mask.clone();
        let pooled = (states.clone() * at_end.reshape([n, t, 1])).sum_dim(1).reshape([n, width]);
        EncodedText { embedding: self.projection.forward(pooled), states, mask }
    }

    /// Writes the encoder for prompts of T tokens; `token_states` and `token_mask` only where a head asks for them.
    pub fn export(&self, g: &mut GraphBuilder, length: usize, with_tokens: bool) {
        let [vocabulary, width] = self.tokens.dims();
        let ids = g.input_i64("input_ids", &[Dim::Batch, Dim::Fixed(length)]);
        let table = g.constant(&weights(&self.tokens), &[vocabulary, width]);
        let positions = g.constant(&weights(&self.positions)[..length * width], &[length, width]);
        let looked_up = g.gather_rows(&table, &ids);
        let x = g.add(&looked_up, &positions);
        let x = self.transformer.export(g, &x, length);
        let states = export_layer_norm(&self.norm, g, &x, self.epsilon);
        let (at_end, mask) = self.export_ends(g, &ids, length);
        let column = g.reshape(&at_end, &[-1, length as i64, 1]);
        let pooled = g.mul(&states, &column);
        let pooled = g.sum(&pooled, &[1]);
        let embedding = export_linear(&self.projection, g, &pooled);
        let dim = self.projection.weight.dims()[1];
        g.output_f32("text_embedding", &embedding, &[Dim::Batch, Dim::Fixed(dim)]);
        if with_tokens {
            g.output_f32("token_states", &states, &[Dim::Batch, Dim::Fixed(length), Dim::Fixed(width)]);
            g.output_f32("token_mask", &mask, &[Dim::Batch, Dim::Fixed(length)]);
        }
    }

    /// 1 at the first end of text, and 1 up to it. Ids are whole numbers far below 2^24, so floats hold them exactly, and
    /// the engines need neither ArgMax nor CumSum.
    fn export_ends(&self, g: &mut GraphBuilder, ids: &Value, length: usize) -> (Value, Value) {
        let is_end = match self.end_of_text {
            Some(id) => g.equals(ids, id),
            None => {
                let ids = g.to_f32(ids);
                let highest = g.max_keep(&ids, &[1]);
                let below = g.sub(&ids, &highest);
                let at = g.affine(&below, 1.0, 1.0);
                g.clip(&at, 0.0, 1.0)
            }
        };
        let table = g.constant(&before(length), &[length, length]);
        let ends_before = g.matmul(&is_end, &table);
        let mask = g.affine(&ends_before, -1.0, 1.0);
        let mask = g.clip(&mask, 0.0, 1.0);
        (g.mul(&is_end, &mask), mask)
    }
}

/// `[T, T]`, 1 where the row's place lies before the column's: a row of marks times this counts the marks before each place.
fn before(length: usize) -> Vec<f32> {
    (0..length * length).map(|at| if at / length < at % length { 1.0 } else { 0.0 }).collect()
}
