//! The replay of the goldens: whether a bundle answers here what it answered where it was trained.

use ndarray::{Array2, Axis, stack};

use super::{ImageEmbedding, ImageFeatures, Scorer, ScorerError};
use crate::bundle::{BundleError, GoldenTensors, Replay};
use crate::image_input::Limits;

/// Runs the goldens through the whole way of an image and of a tag, and compares.
pub(super) fn replay_goldens(scorer: &Scorer) -> Result<Replay, ScorerError> {
    let goldens = scorer.manifest().goldens.clone();
    let expected = scorer.bundle.golden_tensors()?;
    let mut inputs = Vec::with_capacity(goldens.images.len());
    for name in &goldens.images {
        let picture = scorer
            .decode(&scorer.bundle.read(name)?, &Limits::default())
            .map_err(|source| ScorerError::GoldenImage { name: name.clone(), source })?;
        inputs.push(scorer.pixel_values(&picture));
    }
    let not_finite =
        |what| BundleError::NotFinite { dir: scorer.bundle.dir().to_owned(), what, device: scorer.device().to_owned() };
    let explain = |error| match error {
        ScorerError::NotFinite(what) => ScorerError::Bundle(not_finite(what)),
        other => other,
    };
    let mut encoded = Vec::with_capacity(inputs.len());
    let mut images = Vec::with_capacity(inputs.len());
    for image in scorer.encode_images(&inputs).map_err(explain)? {
        let embedding = ImageEmbedding::rounded(image.embedding.iter()).map_err(explain)?;
        images.push(ImageFeatures { embedding, patch_tokens: image.patch_tokens });
        encoded.push(image.embedding);
    }
    let rows: Vec<_> = encoded.iter().map(|row| row.view()).collect();
    let image_embedding = stack(Axis(0), &rows).map_err(|_| not_finite("the image embedding"))?;
    let tags = goldens.tags.iter().map(|t| scorer.encode_tag(t)).collect::<Result<Vec<_>, _>>().map_err(explain)?;
    let shape = (images.len(), tags.len());
    let (mut score, mut similarity) = (Array2::zeros(shape), Array2::zeros(shape));
    for (g, image) in images.iter().enumerate() {
        for (t, scored) in scorer.score(image, &tags).map_err(explain)?.into_iter().enumerate() {
            score[[g, t]] = scored.score;
            similarity[[g, t]] = scored.similarity;
        }
    }
    let text_embedding = Array2::from_shape_fn((tags.len(), image_embedding.ncols()), |(t, d)| tags[t].embedding[d]);
    let replay = expected.compare(&GoldenTensors { image_embedding, text_embedding, score, similarity });
    if let Some((what, difference, tolerance)) = replay.violation(&goldens.tolerance) {
        let (dir, device) = (scorer.bundle.dir().to_owned(), scorer.device().to_owned());
        return Err(BundleError::Drift { dir, what, difference, tolerance, device }.into());
    }
    Ok(replay)
}
