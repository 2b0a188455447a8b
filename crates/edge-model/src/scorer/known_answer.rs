//! An input whose answer is known, which goes with every run on a device that may fail without a word of it. A GPU that has
//! lost its memory, whose kernels do not run any more or whose library was replaced may answer with zeros or with what was there
//! before: then the known answer is wrong as well, and nothing of that run is believed.

use super::engine::{EncodedImage, Engine};
use super::{EncodedTag, ImageFeatures, ScorerError};
use crate::bundle::manifest::file;
use crate::image_input::RgbImage;

/// A golden image and tag, and what the device answered when it was proved.
#[derive(Debug, Clone)]
pub(super) struct KnownAnswer {
    /// S x S pixels.
    pub(super) square: RgbImage,
    pub(super) image: EncodedImage,
    pub(super) features: ImageFeatures,
    pub(super) tag_ids: Vec<i64>,
    pub(super) tag: EncodedTag,
    pub(super) score: f32,
    /// The largest magnitude in the goldens' image embeddings and in their text embeddings.
    pub(super) largest: [f32; 2],
}

impl KnownAnswer {
    pub(super) fn check_image(&self, engine: &Engine, found: &EncodedImage) -> Result<(), ScorerError> {
        let graph = file::IMAGE_ENCODER;
        let allowed = engine.tolerance().embedding;
        let difference = farthest(found.embedding.iter(), self.image.embedding.iter()) / self.largest[0];
        judge(engine, graph, difference, allowed)?;
        if let (Some(found), Some(expected)) = (&found.patch_tokens, &self.image.patch_tokens) {
            let largest = expected.iter().fold(f32::MIN_POSITIVE, |largest, v| largest.max(v.abs()));
            judge(engine, graph, farthest(found.iter(), expected.iter()) / largest, allowed)?;
        }
        Ok(())
    }

    pub(super) fn check_tag(&self, engine: &Engine, found: &EncodedTag) -> Result<(), ScorerError> {
        let difference = farthest(found.embedding.iter(), self.tag.embedding.iter()) / self.largest[1];
        judge(engine, file::TEXT_ENCODER, difference, engine.tolerance().embedding)
    }

    pub(super) fn check_score(&self, engine: &Engine, found: f32) -> Result<(), ScorerError> {
        judge(
            engine,
            file::QUALITY_HEAD,
            farthest([&found].into_iter(), [&self.score].into_iter()),
            engine.tolerance().score,
        )
    }
}

/// Largest absolute difference; what is not finite is infinitely far.
fn farthest<'a>(found: impl Iterator<Item = &'a f32>, expected: impl Iterator<Item = &'a f32>) -> f32 {
    found.zip(expected).fold(0.0, |worst: f32, (a, b)| {
        let difference = (a - b).abs();
        if difference.is_finite() { worst.max(difference) } else { f32::INFINITY }
    })
}

fn judge(engine: &Engine, graph: &'static str, difference: f32, allowed: f32) -> Result<(), ScorerError> {
    if difference <= allowed {
        return Ok(());
    }
    Err(ScorerError::WrongAnswer { graph, device: engine.device(), difference, allowed })
}
