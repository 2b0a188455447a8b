//! The learning steps of a fit: computes the features of frozen encoders, fits the small image encoder, and trains.

use edge_model::bundle::manifest::ImageSide;
use edge_model::image_input::InputRule;

use super::plan::FitPlan;
use super::run_keeper::RunKeeper;
use crate::assemble::DEFAULT_TAG;
use crate::cache::FeatureCache;
use crate::checkpoint::{RunDirectory, StateDirectory, TrainProgress};
use crate::features::Encoded;
use crate::message::Listener;
use crate::model::head::record;
use crate::model::{TagScorer, TextBackbone};
use crate::optimise::rounded_to_f16;
use crate::training::{self, FrozenEncoders, TrainInputs, Trained};
use crate::{TrainError, Trainable};

/// Computes the image features before the training: runs a frozen pretrained encoder, or fits the small image encoder.
pub(super) fn encode(plan: &FitPlan<'_>, listener: &mut dyn Listener) -> Result<Encoded, TrainError> {
    let options = &plan.request.options;
    let rule = plan.backbone.input_rule(options);
    let trains_encoders = trains_encoders(plan)?;
    if !plan.backbone.is_fitted() {
        let kept = if trains_encoders { None } else { Some(kept_features(plan, &rule, listener)?) };
        return Ok(Encoded { kept, ..Encoded::default() });
    }
    let examples = [plan.parts.train.as_slice(), plan.parts.validation.as_slice()];
    let known = plan.backbone.known_content(&plan.request.cache, listener)?;
    let fitted = training::fit_image_encoder(options, &rule, known.as_ref(), examples, listener)?;
    let vocabulary = known.map_or_else(Vec::new, |known| known.words.plain_tags);
    Ok(Encoded { kept: None, fitted: Some(fitted), vocabulary })
}

/// Trains the model and returns the best weights.
pub(super) fn learn(
    plan: &FitPlan<'_>,
    run: &mut RunDirectory,
    resumed: Option<TrainProgress>,
    encoded: &Encoded,
    listener: &mut dyn Listener,
) -> Result<Trained, TrainError> {
    let options = &plan.request.options;
    let inputs = TrainInputs {
        options,
        device: &plan.device,
        backbone: &plan.backbone,
        train: &plan.parts.train,
        validation: &plan.parts.validation,
        rule: &plan.backbone.input_rule(options),
        tokenizer: plan.tokenizer,
        default_tag: DEFAULT_TAG,
        shape: &plan.shape,
        data_sha256: &plan.provenance.data_sha256,
        fitted: encoded.fitted.as_ref(),
        features: encoded.features(),
    };
    let mut keeper = RunKeeper {
        run,
        dir: &plan.request.run,
        state: StateDirectory::of(&plan.request.run),
        backbone: &plan.backbone,
        shape: &plan.shape,
        head_only: encoded.kept.is_some(),
        stop: &plan.request.stop,
    };
    let mut trained = training::train(inputs, resumed, &mut keeper, listener)?;
    if plan.backbone.is_fitted() {
        // Bundles with a kernel encoder store matrices in 16 bits. The fit has rounded the image encoder's matrices.
        let TagScorer { text, head, .. } = trained.model;
        // A table of tokens is stored in bytes, and its numbers must stay whole multiples.
        let text = if matches!(text, TextBackbone::Means(_)) { text } else { rounded_to_f16(text) };
        trained.model = TagScorer { text, head: rounded_to_f16(head), ..trained.model };
    }
    Ok(trained)
}

/// Returns whether the training changes the encoders.
fn trains_encoders(plan: &FitPlan<'_>) -> Result<bool, TrainError> {
    let (options, is_trained) = (&plan.request.options, plan.backbone.is_trained());
    if plan.backbone.is_fitted() && plan.backbone.knows_similarity() && options.train != Trainable::Auto {
        let name = &options.backbone;
        return Err(TrainError::Options(format!(
            "--train is for encoders that learn by gradient, but the image encoder of {name} is fitted in closed form. Leave \
             --train out"
        )));
    }
    let untrained = |value: &str| {
        let name = &options.backbone;
        Err(TrainError::Options(format!(
            "--train {value} needs pretrained encoders, but the encoders of {name} have random weights. Use --train all"
        )))
    };
    match options.train {
        Trainable::All => Ok(true),
        Trainable::Auto => Ok(!is_trained),
        Trainable::Last(_) if !is_trained => untrained("last:N"),
        Trainable::Last(_) => Ok(true),
        Trainable::Head if !is_trained => untrained("head"),
        Trainable::Head => Ok(false),
    }
}

/// Encodes the training and validation images that are not in the feature cache yet. Returns the cache.
fn kept_features(
    plan: &FitPlan<'_>,
    rule: &InputRule,
    listener: &mut dyn Listener,
) -> Result<FeatureCache, TrainError> {
    let reads_patches = record(plan.shape.head).image_side == ImageSide::PatchTokens;
    let patches = if reads_patches { plan.shape.head_shape().patches } else { [0, 0] };
    let digest = &plan.backbone_sha256;
    let cache = FeatureCache::open(&plan.request.cache, digest, rule, plan.shape.embedding(), patches)?;
    let frozen = FrozenEncoders {
        backbone: &plan.backbone,
        shape: &plan.shape,
        device: &plan.device,
        rule,
        threads: plan.request.options.loader_threads,
    };
    let examples = plan.parts.train.iter().chain(&plan.parts.validation);
    training::keep_features(frozen, &cache, examples, listener)?;
    Ok(cache)
}
