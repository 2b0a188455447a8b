//! Encoded images and tags, which are the head's inputs, and scores, which are its output.

use half::f16;
use ndarray::{Array1, Array2};

use super::error::ScorerError;

/// The image encoder's output for one image: `[D]`, rounded to f16. All scores are computed from rounded embeddings, so that a score
/// computed at once and a score computed later from the database are equal.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageEmbedding(pub Vec<f16>);

impl ImageEmbedding {
    /// Rounds an embedding to f16, the precision in which it is stored.
    ///
    /// # Errors
    /// [`ScorerError::NotFinite`] if a value is beyond the range of f16. An infinite element would make all scores of the image NaN.
    pub fn rounded<'a>(values: impl Iterator<Item = &'a f32>) -> Result<Self, ScorerError> {
        let rounded: Vec<f16> = values.map(|&v| f16::from_f32(v)).collect();
        if rounded.iter().all(|v| v.is_finite()) {
            Ok(Self(rounded))
        } else {
            Err(ScorerError::NotFinite("the image embedding, rounded to f16,"))
        }
    }

    /// The similarity to a tag, -1..=1: the cosine of the tag's text embedding, of length E, and the first E numbers of the image
    /// embedding; 0 if either is zero.
    pub fn similarity(&self, tag: &EncodedTag) -> f32 {
        let (mut dot, mut image, mut text) = (0.0_f32, 0.0_f32, 0.0_f32);
        for (a, b) in self.0.iter().map(|v| v.to_f32()).zip(&tag.embedding) {
            dot += a * b;
            image += a * a;
            text += b * b;
        }
        dot / (image.sqrt() * text.sqrt()).max(f32::MIN_POSITIVE)
    }
}

/// An encoded image: the image encoder's outputs as the head reads them.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFeatures {
    /// `[D]`, stored in the database.
    pub embedding: ImageEmbedding,
    /// The patch tokens, `[P, W]`, if the bundle's head reads patches. They are not stored in the database: writing a hundred
    /// kilobytes per image would wear out an SD card.
    pub patch_tokens: Option<Array2<f32>>,
}

/// Makes image features from a stored embedding, without patch tokens. They are enough for a head that reads only the embedding.
impl From<ImageEmbedding> for ImageFeatures {
    fn from(embedding: ImageEmbedding) -> Self {
        Self { embedding, patch_tokens: None }
    }
}

/// The image encoder's outputs for one image, before rounding.
#[derive(Debug, Clone)]
pub(super) struct UnroundedImage {
    /// The image embedding, `[D]`.
    pub(super) embedding: Array1<f32>,
    /// The patch tokens, `[P, W]`, if the head reads patches.
    pub(super) patch_tokens: Option<Array2<f32>>,
}

impl UnroundedImage {
    /// Rounds the embedding to f16, the precision in which it is stored.
    pub(super) fn into_features(self) -> Result<ImageFeatures, ScorerError> {
        let embedding = ImageEmbedding::rounded(self.embedding.iter())?;
        Ok(ImageFeatures { embedding, patch_tokens: self.patch_tokens })
    }
}

/// An encoded tag: the text encoder's outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedTag {
    /// Text of the tag.
    pub tag: String,
    /// The text embedding, `[D]`.
    pub embedding: Vec<f32>,
    /// The text encoder's outputs for each token, if the bundle's head reads them.
    pub tokens: Option<TagTokens>,
}

/// The text encoder's outputs for each token of a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct TagTokens {
    /// The text encoder's state of each token, `[T, V]`.
    pub states: Array2<f32>,
    /// Marks the tokens, `[T]`: 1 at the text's tokens, 0 at the padding.
    pub mask: Array1<f32>,
}

/// Score, similarity and percentile of an (image, tag) pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Score on the bundle's scale.
    pub score: f32,
    /// Cosine of image and text embedding, -1..=1.
    pub similarity: f32,
    /// Share of the tag's reference scores below `score`, 0..=100; `None` if the bundle has no quantiles.
    pub percentile: Option<f32>,
}
