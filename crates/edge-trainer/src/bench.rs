//! Measures the time of a training step, to compare devices, options and engines.

use std::path::Path;

use serde::Serialize;

use super::assemble::DEFAULT_TAG;
use super::backbone::Backbone;
use super::cache::FeatureCache;
use super::device::{self, TrainDevice};
use super::features::{FeatureTable, Features};
use super::metrics::quantile;
use super::model::head::problem;
use super::options::{Precision, Trainable};
use super::training::{TrainInputs, made_up_examples, time_steps};
use super::{TrainError, TrainOptions};

/// Request to time training steps.
#[derive(Debug, Clone)]
pub struct BenchRequest {
    /// Training options of the timed steps. Options about data have no effect: the images are made up.
    pub options: TrainOptions,
    /// Number of untimed steps before the timed ones.
    pub warm_up: usize,
    /// Number of timed steps.
    pub steps: usize,
}

/// The measured times, with the device and the sizes that they were measured with.
#[derive(Debug, Clone, Serialize)]
pub struct StepTimes {
    /// The device that the steps ran on.
    pub device: TrainDevice,
    /// Precision of the matrix products.
    pub precision: Precision,
    /// Names of the image encoder and of the text encoder.
    pub backbone: [String; 2],
    /// Whether only the head is trained.
    pub head_only: bool,
    /// Number of images in a batch.
    pub batch: usize,
    /// Number of distinct tags in a batch.
    pub tags: usize,
    /// Side of the images, in pixels.
    pub image_px: u32,
    /// Length of a padded prompt, in tokens.
    pub context_length: usize,
    /// Wall-clock time of every timed step, in seconds.
    pub seconds: Vec<f64>,
}

impl StepTimes {
    /// Returns the median of the times, in seconds.
    pub fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        quantile(&sorted, 0.5)
    }
}

/// Measures the time of a training step with the requested options. If the options leave the encoders unchanged, the
/// step trains the head alone.
///
/// # Errors
/// [`TrainError`].
pub fn bench(request: &BenchRequest) -> Result<StepTimes, TrainError> {
    let options = &request.options;
    if let Some(problem) = options.problem() {
        return Err(TrainError::Options(problem));
    }
    let (device, _) = device::find(options.device)?;
    let backbone = Backbone::find(&options.backbone, Path::new(&options.parts))?;
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
    let head_only = match options.train {
        Trainable::Auto => backbone.is_trained(),
        Trainable::Head => true,
        Trainable::Last(_) | Trainable::All => false,
    };
    // The cache stays empty; passing it means that the encoders are not trained.
    let dir = tempfile::tempdir().map_err(TrainError::file(&std::env::temp_dir()))?;
    let cache = FeatureCache::open(dir.path(), "", &rule, shape.embedding(), shape.head_shape().patches)?;
    let table = FeatureTable::default();
    let features = match &backbone {
        fitted if fitted.is_fitted() => Some(Features::Fitted(&table)),
        _ => head_only.then_some(Features::Kept(&cache)),
    };
    let inputs = TrainInputs {
        options,
        device: &device,
        backbone: &backbone,
        train: &examples,
        validation: &[],
        rule: &rule,
        tokenizer: &tokenizer,
        default_tag: DEFAULT_TAG,
        shape: &shape,
        data_sha256: "",
        fitted: None,
        features,
    };
    let seconds = time_steps(inputs, [request.warm_up, request.steps])?;
    Ok(StepTimes {
        precision: options.precision.on(&device),
        device: device.clone(),
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
                device: device::DeviceRequest::Cpu,
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
            device: TrainDevice::Cpu,
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
