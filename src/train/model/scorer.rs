//! The three parts together, and what only training needs beside them.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::text_encoder::TextShape;
use super::{ImageEncoder, QualityHead, TextEncoder};

/// Mean and deviation of the training scores: the head works in this unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScoreUnit {
    /// Mean score.
    pub mean: f32,
    /// Deviation of the scores, above zero.
    pub deviation: f32,
}

/// Everything that fixes the shapes of the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Channels of the image encoder's stages, the stem first.
    pub widths: Vec<usize>,
    /// Number of tokens that the tokenizer knows.
    pub vocabulary: usize,
    /// Length of a padded prompt.
    pub context_length: usize,
    /// The token that pads.
    pub pad_id: i64,
    /// Length of a token inside of the text encoder.
    pub text_width: usize,
    /// Layers of the text encoder.
    pub text_layers: usize,
    /// Share of the activations dropped in training.
    pub dropout: f64,
}

/// `alignment ~ gain * similarity + offset`: the human rating that the similarity is taught by. Not exported.
#[derive(Module, Debug)]
pub struct AlignmentScale<B: Backend> {
    gain: Param<Tensor<B, 1>>,
    offset: Param<Tensor<B, 1>>,
}

impl<B: Backend> AlignmentScale<B> {
    /// `similarity [N]` -> expected alignment `[N]`, standardised.
    pub fn forward(&self, similarity: Tensor<B, 1>) -> Tensor<B, 1> {
        similarity * self.gain.val() + self.offset.val()
    }
}

/// Image encoder, text encoder and head.
#[derive(Module, Debug)]
pub struct TagScorer<B: Backend> {
    /// Image to embedding.
    pub image: ImageEncoder<B>,
    /// Tag to embedding.
    pub text: TextEncoder<B>,
    /// Both embeddings to score.
    pub head: QualityHead<B>,
    /// Similarity to alignment.
    pub alignment: AlignmentScale<B>,
}

impl<B: Backend> TagScorer<B> {
    /// Fresh networks of this shape.
    pub fn new(shape: &ModelShape, device: &B::Device) -> Self {
        let text = TextShape {
            vocabulary: shape.vocabulary,
            context_length: shape.context_length,
            pad_id: shape.pad_id,
            width: shape.text_width,
            layers: shape.text_layers,
            heads: 4,
        };
        Self {
            image: ImageEncoder::new(&shape.widths, shape.dropout, device),
            text: TextEncoder::new(text, shape.dropout, device),
            head: QualityHead::new(shape.dropout, device),
            alignment: AlignmentScale {
                gain: Param::from_tensor(Tensor::ones([1], device)),
                offset: Param::from_tensor(Tensor::zeros([1], device)),
            },
        }
    }

    /// Embeddings of padded prompts, `[N, T]` row-major in `ids` -> `[N, D]`.
    pub fn embed_texts(&self, ids: &[Vec<i64>], device: &B::Device) -> Tensor<B, 2> {
        let length = ids.first().map_or(0, Vec::len);
        let flat: Vec<i64> = ids.concat();
        let tensor = Tensor::<B, 1, Int>::from_data(flat.as_slice(), device).reshape([ids.len(), length]);
        self.text.forward(tensor)
    }
}

/// Number of learned values in the three exported parts.
pub fn parameters<B: Backend>(model: &TagScorer<B>) -> u64 {
    (model.image.num_params() + model.text.num_params() + model.head.num_params()) as u64
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::Distribution;

    use super::*;
    use crate::train::model::{EMBEDDING, values};

    #[test]
    fn text_and_image_both_reach_the_score() {
        let device = Default::default();
        let head = QualityHead::<Flex>::new(0.1, &device);
        let random = || Tensor::<Flex, 2>::random([1, EMBEDDING], Distribution::Normal(0.0, 1.0), &device);
        let unit = ScoreUnit { mean: 3.0, deviation: 2.0 };
        let (image, text) = (random(), random());
        let score = |image: &Tensor<Flex, 2>, text: &Tensor<Flex, 2>| {
            values(head.forward(image.clone(), text.clone(), unit))[0]
        };
        let base = score(&image, &text);
        assert!((score(&image, &random()) - base).abs() > 1e-4);
        assert!((score(&random(), &text) - base).abs() > 1e-4);
    }

    #[test]
    fn padding_does_not_reach_the_text_embedding() {
        let device = Default::default();
        let shape = TextShape { vocabulary: 20, context_length: 6, pad_id: 0, width: 16, layers: 2, heads: 4 };
        let text = TextEncoder::<Flex>::new(shape, 0.1, &device);
        let embed = |ids: [i64; 6]| values(text.forward(Tensor::from_data([ids], &device)));
        let before = embed([1, 7, 2, 0, 0, 0]);
        // The embedding of the padding token is read, but nobody looks at it.
        let mut changed = text.clone();
        changed.overwrite_token(0, 5.0);
        let after = values(changed.forward(Tensor::from_data([[1i64, 7, 2, 0, 0, 0]], &device)));
        assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!(embed([1, 8, 2, 0, 0, 0]) != before);
    }
}
