//! The replay of the goldens: whether a bundle answers here what it answered where it was trained.

use ndarray::{Array2, Axis, stack};

use super::ScorerError;
use super::engine::Engine;
use super::known_answer::KnownAnswer;
use crate::bundle::{BundleError, GoldenTensors, Replay};
use crate::image_input::{Limits, decode_reduced, square};
use crate::text::normalise_tag;

/// Runs the goldens through the whole way of an image and of a tag, and compares. The first of them serves as a known answer.
pub(super) fn replay_goldens(engine: &Engine) -> Result<(Replay, Option<KnownAnswer>), ScorerError> {
    let (manifest, bundle) = (engine.manifest(), &engine.model.bundle);
    let goldens = &manifest.goldens;
    let expected = bundle.golden_tensors()?;
    let mut inputs = Vec::with_capacity(goldens.images.len());
    for name in &goldens.images {
        let picture = decode_reduced(&bundle.read(name)?, &Limits::default(), &manifest.image_input)
            .map_err(|source| ScorerError::GoldenImage { name: name.clone(), source })?;
        inputs.push(square(&picture, &manifest.image_input));
    }
    let not_finite =
        |what| BundleError::NotFinite { dir: bundle.dir().to_owned(), what, device: engine.device().to_owned() };
    let explain = |error| match error {
        ScorerError::NotFinite(what) => ScorerError::Bundle(not_finite(what)),
        other => other,
    };
    let encoded = engine.encode_images(&inputs).map_err(explain)?;
    let images =
        encoded.iter().map(|image| image.clone().into_features().map_err(explain)).collect::<Result<Vec<_>, _>>()?;
    let rows: Vec<_> = encoded.iter().map(|image| image.embedding.view()).collect();
    let image_embedding = stack(Axis(0), &rows).map_err(|_| not_finite("the image embedding"))?;
    let mut tags = Vec::with_capacity(goldens.tags.len());
    for tag in &goldens.tags {
        let tag = normalise_tag(tag);
        let ids = engine.model.tag_ids(&tag)?;
        tags.push((engine.encode_ids(&tag, &ids).map_err(explain)?, ids));
    }
    let shape = (images.len(), tags.len());
    let (mut score, mut similarity) = (Array2::zeros(shape), Array2::zeros(shape));
    for (g, image) in images.iter().enumerate() {
        let pairs: Vec<_> = tags.iter().map(|(tag, _)| (image, tag)).collect();
        for (t, scored) in engine.score_pairs(&pairs).map_err(explain)?.into_iter().enumerate() {
            score[[g, t]] = scored.score;
            similarity[[g, t]] = scored.similarity;
        }
    }
    let text_embedding = Array2::from_shape_fn((tags.len(), image_embedding.ncols()), |(t, d)| tags[t].0.embedding[d]);
    let replayed = GoldenTensors { image_embedding, text_embedding, score, similarity };
    let replay = expected.compare(&replayed);
    if let Some((what, difference, tolerance)) = replay.violation(&engine.tolerance()) {
        let (dir, device) = (bundle.dir().to_owned(), engine.device().to_owned());
        return Err(BundleError::Drift { dir, what, difference, tolerance, device }.into());
    }
    let largest = |a: &Array2<f32>| a.iter().fold(f32::MIN_POSITIVE, |largest, v| largest.max(v.abs()));
    let first =
        (inputs.into_iter().next(), encoded.into_iter().next(), images.into_iter().next(), tags.into_iter().next());
    let (Some(square), Some(image), Some(features), Some((tag, tag_ids))) = first else {
        return Ok((replay, None));
    };
    let known = KnownAnswer {
        square,
        image,
        features,
        tag_ids,
        tag,
        score: replayed.score[[0, 0]],
        largest: [largest(&expected.image_embedding), largest(&expected.text_embedding)],
    };
    Ok((replay, Some(known)))
}
