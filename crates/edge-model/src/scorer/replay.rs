//! The replay of the goldens: proves that a device computes what the trainer computed.

use std::sync::Arc;

use ndarray::{Array2, Axis, stack};

use super::device_model::DeviceModel;
use super::encoded::{EncodedTag, ImageFeatures};
use super::error::ScorerError;
use super::known_answer::KnownAnswer;
use super::model::Model;
use crate::backend::ChosenBackend;
use crate::bundle::{BundleError, GoldenTensors, Replay};
use crate::image_input::{Limits, RgbImage, decode_reduced, encoder_input};
use crate::text::normalise_tag;

/// Prepares a model on a device and replays the goldens there.
///
/// # Errors
/// [`BundleError::Drift`] and [`BundleError::NotFinite`] if the device does not compute what the trainer computed, and the errors
/// of preparing and running the graphs.
pub(super) fn prove(model: Arc<Model>, chosen: ChosenBackend) -> Result<DeviceModel, ScorerError> {
    let mut on_device = DeviceModel::prepare(model, chosen, true)?;
    let mut replayed = replay_goldens(&on_device);
    if let (Err(error), true) = (&replayed, on_device.from_cache) {
        // The bundle says what is right. A cached graph that differs is no reason to refuse the model.
        log::warn!(
            "the prepared graphs in the cache do not do what the bundle says, so they are prepared again: {error}"
        );
        let DeviceModel { model, backend, reason, .. } = on_device;
        on_device = DeviceModel::prepare(model, ChosenBackend { backend, reason }, false)?;
        replayed = replay_goldens(&on_device);
    }
    let (replay, known) = replayed?;
    on_device.replay = replay;
    if on_device.policy().needs_known_answers {
        on_device.known = known;
    }
    Ok(on_device)
}

/// Computes the embeddings, scores and similarities of the goldens and compares them with the trainer's. The first golden image
/// and tag become the known answer.
fn replay_goldens(on_device: &DeviceModel) -> Result<(Replay, Option<KnownAnswer>), ScorerError> {
    let bundle = &on_device.model.bundle;
    let expected = bundle.golden_tensors()?;
    let inputs = golden_inputs(on_device)?;
    let not_finite =
        |what| BundleError::NotFinite { dir: bundle.dir().to_owned(), what, device: on_device.device().to_owned() };
    let explain = |error| match error {
        ScorerError::NotFinite(what) => ScorerError::Bundle(not_finite(what)),
        other => other,
    };
    let encoded = on_device.encode_images(&inputs).map_err(explain)?;
    let images =
        encoded.iter().map(|image| image.clone().into_features().map_err(explain)).collect::<Result<Vec<_>, _>>()?;
    let rows: Vec<_> = encoded.iter().map(|image| image.embedding.view()).collect();
    let image_embedding = stack(Axis(0), &rows).map_err(|_| not_finite("the image embedding"))?;
    let tags = golden_tags(on_device).map_err(explain)?;
    let text_dim = on_device.manifest().architecture.text_dim();
    let text_embedding = Array2::from_shape_fn((tags.len(), text_dim), |(t, d)| tags[t].0.embedding[d]);
    let [score, similarity] = score_all(on_device, &images, &tags).map_err(explain)?;
    let replayed = GoldenTensors { image_embedding, text_embedding, score, similarity };
    let replay = expected.compare(&replayed);
    if let Some((what, difference, tolerance)) = replay.violation(&on_device.tolerance()) {
        let (dir, device) = (bundle.dir().to_owned(), on_device.device().to_owned());
        return Err(BundleError::Drift { dir, what, difference, tolerance, device }.into());
    }
    if let Some(what) = expected.indistinct(&on_device.tolerance()) {
        log::warn!(
            "{}: {what} is nearly the same in all goldens of this bundle, so they prove little about this device. Fit the model to more \
             or other images, or use another bundle",
            bundle.dir().display()
        );
    }
    let largest = |a: &Array2<f32>| a.iter().fold(f32::MIN_POSITIVE, |largest, v| largest.max(v.abs()));
    let first =
        (inputs.into_iter().next(), encoded.into_iter().next(), images.into_iter().next(), tags.into_iter().next());
    let (Some(input), Some(image), Some(features), Some((tag, tag_ids))) = first else {
        return Ok((replay, None));
    };
    let known = KnownAnswer {
        device: on_device.device(),
        tolerance: on_device.tolerance(),
        input,
        image,
        features,
        tag_ids,
        tag,
        score: replayed.score[[0, 0]],
        largest: [largest(&expected.image_embedding), largest(&expected.text_embedding)],
    };
    Ok((replay, Some(known)))
}

/// The golden images, as inputs of the image encoder.
fn golden_inputs(on_device: &DeviceModel) -> Result<Vec<RgbImage>, ScorerError> {
    let (manifest, bundle) = (on_device.manifest(), &on_device.model.bundle);
    let read = |name: &String| {
        let picture = decode_reduced(&bundle.read(name)?, &Limits::default(), &manifest.image_input)
            .map_err(|source| ScorerError::GoldenImage { name: name.clone(), source })?;
        Ok(encoder_input(&picture, &manifest.image_input))
    };
    manifest.goldens.images.iter().map(read).collect()
}

/// The golden tags, encoded, with their token ids.
fn golden_tags(on_device: &DeviceModel) -> Result<Vec<(EncodedTag, Vec<i64>)>, ScorerError> {
    let encode = |tag: &String| {
        let tag = normalise_tag(tag);
        let ids = on_device.model.tag_ids(&tag)?;
        Ok((on_device.encode_ids(&tag, &ids)?, ids))
    };
    on_device.manifest().goldens.tags.iter().map(encode).collect()
}

/// Scores and similarities of G images under T tags, both `[G, T]`.
fn score_all(
    on_device: &DeviceModel,
    images: &[ImageFeatures],
    tags: &[(EncodedTag, Vec<i64>)],
) -> Result<[Array2<f32>; 2], ScorerError> {
    let shape = (images.len(), tags.len());
    let (mut score, mut similarity) = (Array2::zeros(shape), Array2::zeros(shape));
    for (g, image) in images.iter().enumerate() {
        let pairs: Vec<_> = tags.iter().map(|(tag, _)| (image, tag)).collect();
        for (t, scored) in on_device.score_pairs(&pairs)?.into_iter().enumerate() {
            score[[g, t]] = scored.score;
            similarity[[g, t]] = scored.similarity;
        }
    }
    Ok([score, similarity])
}
