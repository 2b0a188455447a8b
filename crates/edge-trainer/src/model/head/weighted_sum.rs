//! A weighted sum of answers, for image encoders whose embeddings hold answers, such as `small-kernel`.
//!
//! Each answer gets a gain and a shift. The weights of the sum are a softmax that depends on the tag: a mixture of experts (Jacobs,
//! Jordan, Nowlan, Hinton, "Adaptive mixtures of local experts", Neural Computation 3, 1991) whose experts were fitted before the head.
//! At the start nearly all weight lies on the first answer. For some tags the training knows the right answer and teaches the head to
//! choose it. The head reads the answers without normalising them, and on purpose nothing else of the image embedding: see
//! `docs/small-model.md`. A new tag can be scored from stored embeddings.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::shape::HeadShape;
use crate::model::layers::{LAYER_NORM_EPSILON, scaled};
use crate::model::ops::{LayerOps, TensorOps};

/// Initial gain of every answer.
const GAIN: f32 = 0.9;
/// Initial logit of the first answer; the other logits start near zero.
const FIRST: f32 = 6.0;
/// Initial spread of the logits between texts, relative to a linear layer with burn's initial weights.
const SPREAD: f64 = 0.3;

/// `image_embedding [N, D]`, `text_embedding [N, E]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct WeightedSum<B: Backend> {
    text_norm: LayerNorm<B>,
    /// Text embedding -> logit of each of the K answers.
    choice: Linear<B>,
    /// Factor of each answer, `[K]`.
    gain: Param<Tensor<B, 1>>,
    /// Number added to each answer, `[K]`.
    shift: Param<Tensor<B, 1>>,
    /// Place of the first answer in the image embedding.
    first: usize,
    dropout: Dropout,
}

/// The sum of `answers [N, K]`, each multiplied by its gain and shifted, with the weights `shares [N, K]`: `[N, 1]`. Gain and shift are rows
/// `[1, K]`.
pub(super) fn sum_of_answers<O: TensorOps>(
    ops: &mut O,
    answers: O::Tensor<2>,
    [gain, shift]: [O::Tensor<2>; 2],
    shares: O::Tensor<2>,
) -> O::Tensor<2> {
    let scaled = ops.mul(answers, gain);
    let scaled = ops.add(scaled, shift);
    let weighted = ops.mul(shares, scaled);
    let sum: O::Tensor<1> = ops.sum(weighted, 1);
    ops.reshape(sum, [-1, 1])
}

impl<B: Backend> WeightedSum<B> {
    /// Random weights that prefer the first answer.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        let (d, [first, count]) = (shape.text, shape.answers);
        let mut logits = vec![0.0; count];
        logits[0] = FIRST;
        let choice = scaled(LinearConfig::new(d, count).init(device), [SPREAD, 0.0]);
        Self {
            text_norm: LayerNormConfig::new(d).init(device),
            choice: Linear { bias: Some(Param::from_data(logits.as_slice(), device)), ..choice },
            gain: Param::from_data(vec![GAIN; count].as_slice(), device),
            shift: Param::from_data(vec![0.0; count].as_slice(), device),
            first,
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// `[N, 1]`, in the unit of the training scores.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, image: O::Tensor<2>, text: O::Tensor<2>) -> O::Tensor<2> {
        let count = self.gain.dims()[0];
        let logits = self.logits(ops, text);
        let shares = ops.softmax(logits, 1);
        let (gain, shift) = (ops.learned_row(&self.gain), ops.learned_row(&self.shift));
        let answers = ops.slice(image, 1, self.first..self.first + count);
        sum_of_answers(ops, answers, [gain, shift], shares)
    }

    /// `text_embedding [N, E]` -> logit of each answer, `[N, K]`.
    pub fn logits<O: LayerOps<B>>(&self, ops: &mut O, text: O::Tensor<2>) -> O::Tensor<2> {
        let text = ops.layer_norm(&self.text_norm, LAYER_NORM_EPSILON, text);
        let text = ops.dropout(&self.dropout, text);
        ops.linear(&self.choice, text)
    }

    /// The same head with logits that differ widely between texts.
    #[cfg(test)]
    pub(super) fn opened(self) -> Self {
        let choice = scaled(self.choice, [2.0 / SPREAD, 0.0]);
        Self { choice, ..self }
    }
}
