//! A sum of numbers among which the tag chooses: for embeddings whose numbers are answers already, such as those of `small-kernel`.
//! Nothing normalises them. The tag's shares (a softmax) mix the first numbers, each with a gain and a shift: a mixture of experts
//! (Jacobs, Jordan, Nowlan, Hinton, "Adaptive mixtures of local experts", Neural Computation 3, 1991) that were fitted before. In
//! the beginning nearly all goes to the first number; a tag has its own answer as soon as it turns to it. That nothing else can be
//! learned is on purpose: see `docs/small-model.md`. Where it is known which number answers a tag, the training says so. Stored
//! embeddings suffice.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;

use super::{HeadInput, HeadShape, embedding_inputs};
use crate::model::layers::{LAYER_NORM_EPSILON, export_layer_norm, export_linear, scaled, weights};
use crate::onnx::{GraphBuilder, Value};

/// Gain of every number at the beginning.
const GAIN: f32 = 0.9;
/// Logit of the first number at the beginning, those of the others being near zero.
const FIRST: f32 = 6.0;
/// How far texts tell logits apart at the beginning, as a share of what a fresh layer does.
const SPREAD: f64 = 0.3;

/// `image_embedding [N, D]`, `text_embedding [N, D]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct WeightedSum<B: Backend> {
    text_norm: LayerNorm<B>,
    /// Text -> logit of each of the first K numbers.
    choice: Linear<B>,
    /// `[K]`
    gain: Param<Tensor<B, 1>>,
    /// `[K]`
    shift: Param<Tensor<B, 1>>,
    dropout: Dropout,
}

impl<B: Backend> WeightedSum<B> {
    /// A fresh head.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        let (d, count) = (shape.embedding, shape.answers);
        let mut logits = vec![0.0; count];
        logits[0] = FIRST;
        let choice = scaled(LinearConfig::new(d, count).init(device), [SPREAD, 0.0]);
        Self {
            text_norm: LayerNormConfig::new(d).init(device),
            choice: Linear { bias: Some(Param::from_data(logits.as_slice(), device)), ..choice },
            gain: Param::from_data(vec![GAIN; count].as_slice(), device),
            shift: Param::from_data(vec![0.0; count].as_slice(), device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// `[N]`, in the unit of the training scores.
    pub fn forward(&self, input: HeadInput<B>) -> Tensor<B, 1> {
        let (n, count) = (input.image.dims()[0], self.gain.dims()[0]);
        let shares = softmax(self.logits(input.text), 1);
        let answers =
            input.image.narrow(1, 0, count) * self.gain.val().unsqueeze::<2>() + self.shift.val().unsqueeze::<2>();
        (shares * answers).sum_dim(1).reshape([n])
    }

    /// `text_embedding [N, D]` -> logit of each of the first numbers, `[N, K]`.
    pub fn logits(&self, text: Tensor<B, 2>) -> Tensor<B, 2> {
        self.choice.forward(self.dropout.forward(self.text_norm.forward(text)))
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
        let count = self.gain.dims()[0];
        let text = export_layer_norm(&self.text_norm, g, &text, LAYER_NORM_EPSILON);
        let logits = export_linear(&self.choice, g, &text);
        let shares = g.softmax(&logits, 1);
        let (gain, shift) = (g.constant(&weights(&self.gain), &[count]), g.constant(&weights(&self.shift), &[count]));
        let answers = g.slice(&image, 1, 0, count as i64);
        let answers = g.mul(&answers, &gain);
        let answers = g.add(&answers, &shift);
        let weighted = g.mul(&shares, &answers);
        let sum = g.sum(&weighted, &[1]);
        g.reshape(&sum, &[-1, 1])
    }
}
