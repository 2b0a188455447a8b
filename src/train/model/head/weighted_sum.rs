//! Weighted sums, among which the tag chooses: for embeddings whose numbers are answers already, such as those of `small-kernel`.
//! Nothing normalises them. The tag's shares (a softmax) mix some sums of the numbers, a mixture of linear experts (Jacobs, Jordan,
//! Nowlan, Hinton, "Adaptive mixtures of local experts", Neural Computation 3, 1991). In the beginning sum k is number k alone and
//! nearly all goes to the first, so that a tag has its own answer as soon as it turns to it, and one that says nothing keeps the
//! first. Stored embeddings suffice.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::{HeadInput, HeadShape, embedding_inputs};
use crate::train::model::MAX_ANSWERS;
use crate::train::model::layers::{LAYER_NORM_EPSILON, export_layer_norm, export_linear, scaled, weights};
use crate::train::onnx::{GraphBuilder, Value};

/// Weight of its own number in every sum at the beginning.
const OWN: f32 = 0.9;
/// Logit of the first sum at the beginning, those of the others being near zero.
const FIRST: f32 = 6.0;
/// How far texts tell logits apart at the beginning, as a share of what a fresh layer does.
const SPREAD: f64 = 0.3;

/// `image_embedding [N, D]`, `text_embedding [N, D]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct WeightedSum<B: Backend> {
    text_norm: LayerNorm<B>,
    /// Text -> logit of each of S sums.
    choice: Linear<B>,
    /// `[S, D + 1]`: what each number counts in a sum, and what is added.
    sums: Param<Tensor<B, 2>>,
    dropout: Dropout,
}

impl<B: Backend> WeightedSum<B> {
    /// A fresh head.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        let (d, count) = (shape.embedding, shape.embedding.min(MAX_ANSWERS));
        let mut sums = vec![0.0; count * (d + 1)];
        (0..count).for_each(|k| sums[k * (d + 1) + k] = OWN);
        let mut logits = vec![0.0; count];
        logits[0] = FIRST;
        let choice = scaled(LinearConfig::new(d, count).init(device), [SPREAD, 0.0]);
        Self {
            text_norm: LayerNormConfig::new(d).init(device),
            choice: Linear { bias: Some(Param::from_data(logits.as_slice(), device)), ..choice },
            sums: Param::from_data(TensorData::new(sums, [count, d + 1]), device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// `[N]`, in the unit of the training scores.
    pub fn forward(&self, input: HeadInput<B>) -> Tensor<B, 1> {
        let [n, d] = input.image.dims();
        let text = self.dropout.forward(self.text_norm.forward(input.text));
        let shares = softmax(self.choice.forward(text), 1);
        let mixed = shares.matmul(self.sums.val());
        let counts = mixed.clone().narrow(1, 0, d);
        let added = mixed.narrow(1, d, 1);
        ((input.image * counts).sum_dim(1) + added).reshape([n])
    }

    /// The same head with texts that are told apart.
    #[cfg(test)]
    pub(super) fn opened(self) -> Self {
        let choice = scaled(self.choice, [2.0 / SPREAD, 0.0]);
        Self { choice, ..self }
    }

    /// Writes the head up to its `[N, 1]`.
    pub fn export(&self, g: &mut GraphBuilder, shape: HeadShape) -> Value {
        let [image, text] = embedding_inputs(g, shape);
        let (d, [count, _]) = (shape.embedding, self.sums.dims());
        let text = export_layer_norm(&self.text_norm, g, &text, LAYER_NORM_EPSILON);
        let logits = export_linear(&self.choice, g, &text);
        let shares = g.softmax(&logits, 1);
        let sums = g.constant(&weights(&self.sums), &[count, d + 1]);
        let mixed = g.matmul(&shares, &sums);
        let counts = g.slice(&mixed, 1, 0, d as i64);
        let added = g.slice(&mixed, 1, d as i64, d as i64 + 1);
        let weighted = g.mul(&image, &counts);
        let sum = g.sum(&weighted, &[1]);
        let sum = g.reshape(&sum, &[-1, 1]);
        g.add(&sum, &added)
    }
}
