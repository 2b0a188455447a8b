//! What the head is given: the image's side and the tag's.

use half::f16;
use ndarray::{Array1, Array2};

use super::ScorerError;

/// What the image encoder makes of an image: `[D]`, rounded to f16. That is its precision everywhere, so that a score
/// computed at once and one computed later from the database are the same number.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageEmbedding(pub Vec<f16>);

impl ImageEmbedding {
    /// The embedding at the precision in which it is kept.
    ///
    /// # Errors
    /// [`ScorerError::NotFinite`] for what f16 cannot hold: an infinite element would make every score of the image NaN.
    pub fn rounded<'a>(values: impl Iterator<Item = &'a f32>) -> Result<Self, ScorerError> {
        let rounded: Vec<f16> = values.map(|&v| f16::from_f32(v)).collect();
        if rounded.iter().all(|v| v.is_finite()) {
            Ok(Self(rounded))
        } else {
            Err(ScorerError::NotFinite("the image embedding, rounded to f16,"))
        }
    }

    /// Cosine with a tag's text embedding, -1..=1; 0 where either is zero.
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

/// An image's side.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFeatures {
    /// `[D]`, what the database keeps.
    pub embedding: ImageEmbedding,
    /// `[P, W]`, where the bundle's head looks at patches. They are not kept: a hundred kilobytes for each image would wear
    /// an SD card out for the sake of tags that nobody may ever ask for.
    pub patch_tokens: Option<Array2<f32>>,
}

/// A stored embedding: enough for heads that read nothing else.
impl From<ImageEmbedding> for ImageFeatures {
    fn from(embedding: ImageEmbedding) -> Self {
        Self { embedding, patch_tokens: None }
    }
}

/// A tag's side.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedTag {
    /// The tag.
    pub tag: String,
    /// Its embedding, `[D]`.
    pub embedding: Vec<f32>,
    /// Its tokens, where the bundle's head looks at them.
    pub tokens: Option<TagTokens>,
}

/// What the text encoder makes of each token of a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct TagTokens {
    /// `[T, V]`.
    pub states: Array2<f32>,
    /// `[T]`, 1 at the text's tokens, 0 behind them.
    pub mask: Array1<f32>,
}
