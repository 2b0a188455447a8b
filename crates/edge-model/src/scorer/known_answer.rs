//! The known answer: a golden input that is added to every run on a device that may fail without reporting an error.
//!
//! A GPU that has lost its memory, no longer runs its kernels or had its library replaced may return zeros or old results. The
//! outputs for the golden input are then wrong as well, and all results of that run are discarded.

use super::encoded::{EncodedTag, ImageFeatures, UnroundedImage};
use super::error::ScorerError;
use crate::bundle::manifest::{Tolerance, file};
use crate::image_input::RgbImage;

/// A golden image and a golden tag, with the outputs that the device computed for them when it was proved.
#[derive(Debug, Clone)]
pub(super) struct KnownAnswer {
    pub(super) device: &'static str,
    /// Largest allowed differences between a run's outputs and the known outputs.
    pub(super) tolerance: Tolerance,
    /// The golden image as input of the image encoder: S x S pixels.
    pub(super) input: RgbImage,
    pub(super) image: UnroundedImage,
    pub(super) features: ImageFeatures,
    pub(super) tag_ids: Vec<i64>,
    pub(super) tag: EncodedTag,
    pub(super) score: f32,
    /// The largest magnitude of an element in the goldens' image embeddings, and the same in their text embeddings.
    pub(super) largest: [f32; 2],
}

impl KnownAnswer {
    /// Checks the image encoder's outputs for the known image.
    pub(super) fn check_image(&self, found: &UnroundedImage) -> Result<(), ScorerError> {
        let graph = file::IMAGE_ENCODER;
        let allowed = self.tolerance.embedding;
        let difference = largest_difference(found.embedding.iter(), self.image.embedding.iter()) / self.largest[0];
        self.judge(graph, difference, allowed)?;
        if let (Some(found), Some(expected)) = (&found.patch_tokens, &self.image.patch_tokens) {
            let largest = expected.iter().fold(f32::MIN_POSITIVE, |largest, v| largest.max(v.abs()));
            self.judge(graph, largest_difference(found.iter(), expected.iter()) / largest, allowed)?;
        }
        Ok(())
    }

    /// Checks the text encoder's outputs for the known tag.
    pub(super) fn check_tag(&self, found: &EncodedTag) -> Result<(), ScorerError> {
        let difference = largest_difference(found.embedding.iter(), self.tag.embedding.iter()) / self.largest[1];
        self.judge(file::TEXT_ENCODER, difference, self.tolerance.embedding)
    }

    /// Checks the score of the known image under the known tag.
    pub(super) fn check_score(&self, found: f32) -> Result<(), ScorerError> {
        let difference = largest_difference([&found].into_iter(), [&self.score].into_iter());
        self.judge(file::QUALITY_HEAD, difference, self.tolerance.score)
    }

    fn judge(&self, graph: &'static str, difference: f32, allowed: f32) -> Result<(), ScorerError> {
        if difference <= allowed {
            return Ok(());
        }
        Err(ScorerError::WrongAnswer { graph, device: self.device, difference, allowed })
    }
}

/// Largest absolute difference between found and expected values; infinite if a value is not finite.
fn largest_difference<'a>(found: impl Iterator<Item = &'a f32>, expected: impl Iterator<Item = &'a f32>) -> f32 {
    found.zip(expected).fold(0.0, |worst: f32, (a, b)| {
        let difference = (a - b).abs();
        if difference.is_finite() { worst.max(difference) } else { f32::INFINITY }
    })
}
