//! The time of a training step, to compare devices, options and other engines by.

use serde::Serialize;

use super::assemble::DEFAULT_TAG;
use super::backbone::Backbone;
use super::cache::FeatureCache;
use super::device::{self, Place};
use super::features::{FeatureTable, Features};
use super::metrics::quantile;
use super::model::head::problem;
use super::options::{Precision, Trainable};
use super::training::{Setting, made_up_examples, time_steps};
use super::{TrainError, TrainOptions};

/// What to time.
#[derive(Debug, Clone)]
pub struct BenchRequest {
    /// The options; those of the data are not read.
    pub options: TrainOptions,
    /// Steps that are done before the clock runs.
    pub warm_up: usize,
    /// Steps that are timed.
    pub steps: usize,
}

/// What was timed.
#[derive(Debug, Clone, Serialize)]
pub struct StepTimes {
    /// The device.
    pub device: Place,
    /// Bits of the matrix products.
    pub precision: Precision,
    /// Names of the image and of the text encoder.
    pub backbone: [String; 2],
    /// Whether only the head is fitted.
    pub head_only: bool,
    /// Images of the batch.
    pub batch: usize,
    /// Distinct tags of the batch.
    pub tags: usize,
    /// Side of the images, in pixels.
    pub image_px: u32,
    /// Length of a padded prompt, in tokens.
    pub context_length: usize,
    /// Seconds of every step.
    pub seconds: Vec<f64>,
}

impl StepTimes {
    /// The median of the seconds.
    pub fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        quantile(&sorted, 0.5)
    }
}

/// Times the step of a training with these options: that of the head alone where the encoders would be frozen.
///
/// # Errors
/// [`TrainError`].
pub fn bench(request: &BenchRequest) -> Result<StepTimes, TrainError> {
    let options = &request.options;
    if let Some(problem) = options.problem() {
        return Err(TrainError::Options(problem));
    }
    let (place, _) = device::find(options.device)?;
    let backbone = Backbone::find(&options.backbone)?;
    let examples = made_up_examples(options.batch, options.images_per_tag);
    let mut tags: Vec<String> = examples.iter().map(|e| e.tag.clone()).collect();
    tags.dedup();
    let texts: Vec<String> = tags.iter().cloned().chain([DEFAULT_TAG.to_owned()]).collect();
    let (tokenizer, _, vocabulary) = backbone.tokenizer(options, &texts)?;
    let shape = backbone.shape(options, &tokenizer, vocabulary);
    if let Some(problem) = problem(shape.head, shape.head_shape()) {
        return Err(TrainError::Options(problem));
    }
    let rule = backbone.input_rule(options);
    let head_only = match options.trainable {
        Trainable::Auto => backbone.is_trained(),
        Trainable::Head => true,
        Trainable::Last(_) | Trainable::All => false,
    };
    // Nothing is read from it: that it is there says that the encoders are frozen.
    let dir = tempfile::tempdir().map_err(TrainError::file(&std::env::temp_dir()))?;
    let cache = FeatureCache::open(dir.path(), "", &rule, shape.embedding(), shape.head_shape().patches)?;
    let table = FeatureTable::default();
    let features = match &backbone {
        Backbone::Small => Some(Features::Fitted(&table)),
        _ => head_only.then_some(Features::Kept(&cache)),
    };
    let setting = Setting {
        options,
        place: &place,
        backbone: &backbone,
        train: &examples,
        validation: &[],
        rule: &rule,
        tokenizer: &tokenizer,
        default_tag: DEFAULT_TAG,
        shape: &shape,
        data_sha256: "",
        fit: None,
        answer_of: None,
        features,
    };
    let seconds = time_steps(setting, [request.warm_up, request.steps])?;
    Ok(StepTimes {
        precision: options.precision.on(&place),
        device: place.clone(),
        backbone: shape.backbone.names(),
        head_only,
        batch: examples.len(),
        tags: tags.len(),
        image_px: rule.size_px,
        context_length: shape.context_length,
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_steps_are_timed_as_were_asked_for() {
        for precision in [Precision::F32, Precision::Bf16] {
            let options = TrainOptions {
                batch: 4,
                images_per_tag: 2,
                crop_px: Some(64),
                device: device::Device::Cpu,
                precision,
                ..TrainOptions::default()
            };
            let times = bench(&BenchRequest { options, warm_up: 1, steps: 2 }).unwrap();
            assert_eq!((times.head_only, times.batch, times.tags, times.seconds.len()), (false, 4, 2, 2));
            assert!(times.precision == precision && times.median() > 0.0);
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        let times = |seconds: &[f64]| StepTimes {
            device: Place::Cpu,
            precision: Precision::F32,
            backbone: Default::default(),
            head_only: true,
            batch: 1,
            tags: 1,
            image_px: 1,
            context_length: 1,
            seconds: seconds.to_vec(),
        };
        assert_eq!([times(&[3.0, 1.0, 2.0]).median(), times(&[4.0, 1.0]).median()], [2.0, 2.5]);
    }
}
