//! A weighted sum of answers, lowered where the image does not show what the tag names. For image encoders whose embeddings begin with a
//! content vector in the space of texts.
//!
//! The quality is that of [`WeightedSum`]. How well the image matches the tag comes from the similarities of the text embedding with the
//! content and with the content's part from the regression. What counts as a match differs between tags: an image of a dog is nearer to
//! "dog" than to "animal", and "black and white" names nothing that a content vector could show. So the threshold, and how much a
//! mismatch lowers the score, depend on the text. A new tag can be scored from stored embeddings.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::shape::HeadShape;
use super::weighted_sum::WeightedSum;
use crate::model::kernel_encoder::unit;
use crate::model::layers::scaled;
use crate::model::ops::LayerOps;

/// Hidden units of the network that reads the text.
const HIDDEN: usize = 48;
/// What depends on the text: the slopes of both similarities, the threshold, and the weight of a mismatch.
const TERMS: usize = 4;
/// Initial values of the terms: at first a match is a similarity of about 0.3, and a mismatch weighs little.
const START: [f32; TERMS] = [6.0, 3.0, -2.5, -1.0];
/// Initial spread of the terms between texts, relative to a linear layer with burn's initial weights.
const SPREAD: f64 = 0.3;
/// Initial lowest score, in the unit of the training scores.
const LOWEST: f32 = -3.0;

/// `image_embedding [N, D]`, `text_embedding [N, E]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct MatchedSum<B: Backend> {
    quality: WeightedSum<B>,
    hidden: Linear<B>,
    terms: Linear<B>,
    /// The score of an image that does not match at all, `[1]`.
    lowest: Param<Tensor<B, 1>>,
    dropout: Dropout,
    /// Length E of the text embedding.
    text: usize,
}

impl<B: Backend> MatchedSum<B> {
    /// Creates a head with random weights.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        let terms = scaled(LinearConfig::new(HIDDEN, TERMS).init(device), [SPREAD, 0.0]);
        Self {
            quality: WeightedSum::new(shape, dropout, device),
            hidden: LinearConfig::new(shape.text, HIDDEN).init(device),
            terms: Linear { bias: Some(Param::from_data(START.as_slice(), device)), ..terms },
            lowest: Param::from_data([LOWEST].as_slice(), device),
            dropout: DropoutConfig::new(dropout).init(),
            text: shape.text,
        }
    }

    /// `[N, 1]`, in the unit of the training scores.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, image: O::Tensor<2>, text: O::Tensor<2>) -> O::Tensor<2> {
        let quality = self.quality.forward(ops, image.clone(), text.clone());
        let terms = self.terms(ops, text.clone());
        let term = |ops: &mut O, at: usize| ops.slice(terms.clone(), 1, at..at + 1);
        let content = ops.slice(image.clone(), 1, 0..self.text);
        let regressed = ops.slice(image, 1, self.text..2 * self.text);
        let (content, regressed) = (similarity(ops, content, text.clone()), similarity(ops, regressed, text));
        let slopes = [term(ops, 0), term(ops, 1)];
        let [of_content, of_regressed] = slopes;
        let of_content = ops.mul(content, of_content);
        let of_regressed = ops.mul(regressed, of_regressed);
        let sum = ops.add(of_content, of_regressed);
        let threshold = term(ops, 2);
        let match_logit = ops.add(sum, threshold);
        // 1 - sigmoid(x) = sigmoid(-x)
        let mismatch = ops.affine(match_logit, -1.0, 0.0);
        let mismatch = ops.sigmoid(mismatch);
        let weight = term(ops, 3);
        let weight = ops.sigmoid(weight);
        let share = ops.mul(mismatch, weight);
        let lowest = ops.learned_row(&self.lowest);
        let above = ops.sub(quality.clone(), lowest);
        let lost = ops.mul(share, above);
        ops.sub(quality, lost)
    }

    /// The terms of each text, `[N, E] -> [N, TERMS]`.
    fn terms<O: LayerOps<B>>(&self, ops: &mut O, text: O::Tensor<2>) -> O::Tensor<2> {
        let text = ops.dropout(&self.dropout, text);
        let hidden = ops.linear(&self.hidden, text);
        let hidden = ops.relu(hidden);
        ops.linear(&self.terms, hidden)
    }

    /// The tag's logits over the answers; see [`WeightedSum::logits`].
    pub fn logits<O: LayerOps<B>>(&self, ops: &mut O, text: O::Tensor<2>) -> O::Tensor<2> {
        self.quality.logits(ops, text)
    }

    /// The same head with terms and logits that differ widely between texts.
    #[cfg(test)]
    pub(super) fn opened(self) -> Self {
        let terms = scaled(self.terms, [3.0 / SPREAD, 1.0]);
        Self { quality: self.quality.opened(), terms, ..self }
    }
}

/// The cosine of corresponding rows, `[N, 1]`.
fn similarity<O: crate::model::ops::TensorOps>(ops: &mut O, a: O::Tensor<2>, b: O::Tensor<2>) -> O::Tensor<2> {
    let (a, b) = (unit(ops, a), unit(ops, b));
    let products = ops.mul(a, b);
    let sum: O::Tensor<1> = ops.sum(products, 1);
    ops.reshape(sum, [-1, 1])
}
