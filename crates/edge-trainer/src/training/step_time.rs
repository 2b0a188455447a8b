//! The time of a training step on a device, on made-up examples and without loading.

use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Distribution, Tensor};

use super::error::LearnError;
use super::inputs::TrainInputs;
use super::learner::Learner;
use crate::batches::BatchImages;
use crate::dataset::Example;
use crate::device::{DeviceTask, Host};
use crate::model::{ImageBatch, ImageOutput};

/// Returns the examples of one batch, `per_tag` of each tag, with different scores.
pub fn made_up_examples(batch: usize, per_tag: usize) -> Vec<Example> {
    let example = |i: usize| Example {
        path: PathBuf::from(format!("{i}.jpg")),
        tag: format!("night street {}", i / per_tag.max(1)),
        score: 1.0 + (i * 7 % batch.max(1)) as f32 * 9.0 / batch.max(1) as f32,
        alignment: None,
        part: None,
        group: String::new(),
        source: String::new(),
        condition: None,
        content_id: i.to_string(),
    };
    (0..batch).map(example).collect()
}

/// Takes `warm_up` steps, then `steps` timed steps, and returns the seconds of each timed step. Every step uses all
/// training examples as one batch.
///
/// # Errors
/// [`LearnError::Backbone`], [`LearnError::Text`], [`LearnError::Device`], [`LearnError::Internal`].
pub fn time_steps(inputs: TrainInputs<'_>, [warm_up, steps]: [usize; 2]) -> Result<Vec<f64>, LearnError> {
    inputs.device.run(TimingTask { inputs, warm_up, steps })?
}

struct TimingTask<'a> {
    inputs: TrainInputs<'a>,
    warm_up: usize,
    steps: usize,
}

impl DeviceTask for TimingTask<'_> {
    type Output = Result<Vec<f64>, LearnError>;

    fn run<L: AutodiffBackend>(self, device: &L::Device) -> Self::Output {
        let Self { inputs, warm_up, steps } = self;
        let mut learner = Learner::<L>::new(inputs, device, None)?;
        let images = BatchImages::of_all(inputs.train);
        let examples: Vec<&Example> = inputs.train.iter().collect();
        let pictures = made_up_images(inputs, examples.len());
        let all = warm_up + steps;
        let mut seconds = Vec::with_capacity(steps);
        for at in 0..all {
            let started = Instant::now();
            learner.single_step([at, all], &examples, pictures.clone(), &images)?;
            let synced = <L::InnerBackend as Backend>::sync(device);
            synced.map_err(|e| LearnError::Internal(format!("the device does not respond: {e:?}")))?;
            if at >= warm_up {
                seconds.push(started.elapsed().as_secs_f64());
            }
        }
        Ok(seconds)
    }
}

/// Random images in the form that the loader returns.
fn made_up_images(inputs: TrainInputs<'_>, count: usize) -> ImageBatch<Host> {
    let device = Default::default();
    let normal = Distribution::Normal(0.0, 1.0);
    if inputs.features.is_some() {
        let shape = inputs.shape.head_shape();
        let [p, w] = shape.patches;
        let embedding = Tensor::random([count, shape.embedding], normal, &device);
        let patches = (p > 0).then(|| Tensor::random([count, p, w], normal, &device));
        return ImageBatch::Features(ImageOutput { embedding, patches });
    }
    let (width, height) = inputs.rule.input_size();
    ImageBatch::Pixels(Tensor::random([count, 3, height as usize, width as usize], normal, &device))
}
