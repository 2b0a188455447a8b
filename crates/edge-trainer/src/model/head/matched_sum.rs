//! A weighted sum of answers, and a reward for images that show what the tag names. For image encoders whose embeddings begin with a
//! content vector in the space of texts.
//!
//! The quality is that of [`WeightedSum`]. The reward rises from nearly nothing to [`REWARD`] where the cosine of content and text passes a
//! threshold. The threshold is higher for texts that are no plain names: a sentence is rarely matched well, and "black and white" names
//! nothing that a content vector could show. A score must stay comparable between tags, so that nothing else depends on the text: an image
//! that does not match gets the same under all tags that name contents. The constants were chosen by measurement
//! (`docs/small-model.md`); the training learns which texts are names, and the unit of the scores. A new tag can be scored from stored
//! embeddings.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::shape::HeadShape;
use super::weighted_sum::WeightedSum;
use crate::model::layers::cosine;
use crate::model::ops::LayerOps;

/// The reward of a full match, in standard deviations of the answers.
const REWARD: f32 = 2.5;
/// Steepness of the reward.
const SLOPE: f32 = 16.0;
/// Cosine at which a plain name has half of the reward.
const THRESHOLD: f32 = 0.35;
/// A text that is no plain name has a threshold that is higher by this cosine.
const NO_NAME: f32 = 0.35;
/// The sum also contains the cosine, times this factor. The cosine orders images under sentences, and it hardly changes the order of their
/// quality.
const NEARNESS: f32 = 0.3;
/// Sharpness of the choice among the answers. Under tags that name contents the quality must be the same to the last hundredth: shares of
/// other answers that differ between tags would hide what the cosine adds.
const SHARPNESS: f32 = 4.0;
/// Initial factor of the sum: with it the scores of the training and half of the reward have about the same range.
const GAIN: f32 = 0.6;

/// `image_embedding [N, D]`, `text_embedding [N, E]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct MatchedSum<B: Backend> {
    quality: WeightedSum<B>,
    /// From the text embedding to the logit of being a plain name.
    name: Linear<B>,
    /// Factor of quality and reward, and the number added to both, `[1]` each.
    gain: Param<Tensor<B, 1>>,
    shift: Param<Tensor<B, 1>>,
    dropout: Dropout,
    /// Length E of the text embedding.
    text: usize,
}

impl<B: Backend> MatchedSum<B> {
    /// Creates a head with random weights.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        Self {
            quality: WeightedSum::new(shape, dropout, device).sharper(SHARPNESS),
            name: LinearConfig::new(shape.text, 1).init(device),
            gain: Param::from_data([GAIN].as_slice(), device),
            shift: Param::from_data([-0.5 * GAIN * REWARD].as_slice(), device),
            dropout: DropoutConfig::new(dropout).init(),
            text: shape.text,
        }
    }

    /// `[N, 1]`, in the unit of the training scores.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, image: O::Tensor<2>, text: O::Tensor<2>) -> O::Tensor<2> {
        let quality = self.quality.forward(ops, image.clone(), text.clone());
        let name = self.name_logits(ops, text.clone());
        let is_name = ops.sigmoid(name);
        let content = ops.slice(image, 1, 0..self.text);
        let nearness = cosine(ops, content, text);
        // The threshold is THRESHOLD + NO_NAME (1 - is_name).
        let threshold = ops.affine(is_name, NO_NAME, -THRESHOLD - NO_NAME);
        let above = ops.add(nearness.clone(), threshold);
        let above = ops.affine(above, SLOPE, 0.0);
        let matched = ops.sigmoid(above);
        let reward = ops.affine(matched, REWARD, 0.0);
        let nearness = ops.affine(nearness, NEARNESS, 0.0);
        let sum = ops.add(quality, reward);
        let sum = ops.add(sum, nearness);
        let (gain, shift) = (ops.learned_row(&self.gain), ops.learned_row(&self.shift));
        let scaled = ops.mul(sum, gain);
        ops.add(scaled, shift)
    }

    /// The logit of each text to be a plain name, `[N, E] -> [N, 1]`.
    pub fn name_logits<O: LayerOps<B>>(&self, ops: &mut O, text: O::Tensor<2>) -> O::Tensor<2> {
        let text = ops.dropout(&self.dropout, text);
        // Text embeddings have length 1; the factor gives the layer inputs of about 1.
        let text = ops.affine(text, (self.text as f32).sqrt(), 0.0);
        ops.linear(&self.name, text)
    }

    /// The tag's logits over the answers; see [`WeightedSum::logits`].
    pub fn logits<O: LayerOps<B>>(&self, ops: &mut O, text: O::Tensor<2>) -> O::Tensor<2> {
        self.quality.logits(ops, text)
    }

    /// The same head with logits that differ widely between texts.
    #[cfg(test)]
    pub(super) fn opened(self) -> Self {
        Self { quality: self.quality.opened(), ..self }
    }
}
