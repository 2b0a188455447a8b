//! How long a training step takes on a device, loading left out: the same step as that of a training, on made-up examples.

use std::path::PathBuf;
use std::time::Instant;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Distribution, Tensor};

use super::{Setting, learner::Learner};
use crate::TrainError;
use crate::batches::Images;
use crate::dataset::Example;
use crate::device::{Host, Work};
use crate::model::{ImageBatch, ImageOutput};

/// As many examples as a batch has, `per_tag` of each tag, with scores that differ.
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

/// The seconds that each of `steps` steps takes, after `warm_up` others, on the examples of the setting's training part as one
/// batch.
///
/// # Errors
/// As those of [`super::train`].
pub fn time_steps(setting: Setting<'_>, [warm_up, steps]: [usize; 2]) -> Result<Vec<f64>, TrainError> {
    setting.place.run(Timing { setting, warm_up, steps })?
}

struct Timing<'a> {
    setting: Setting<'a>,
    warm_up: usize,
    steps: usize,
}

impl Work for Timing<'_> {
    type Output = Result<Vec<f64>, TrainError>;

    fn on<L: AutodiffBackend>(self, device: &L::Device) -> Self::Output {
        let Timing { setting, warm_up, steps } = self;
        let mut learner = Learner::<L>::on_made_up(setting, device)?;
        let images = Images::of_all(setting.train);
        let examples: Vec<&Example> = setting.train.iter().collect();
        let pictures = made_up_images(setting, examples.len());
        let all = warm_up + steps;
        let mut seconds = Vec::with_capacity(steps);
        for at in 0..all {
            let started = Instant::now();
            learner.only_step([at, all], &examples, pictures.clone(), &images)?;
            let synced = <L::InnerBackend as Backend>::sync(device);
            synced.map_err(|e| TrainError::Internal(format!("the device does not answer: {e:?}")))?;
            if at >= warm_up {
                seconds.push(started.elapsed().as_secs_f64());
            }
        }
        Ok(seconds)
    }
}

/// What the loader would hand over.
fn made_up_images(setting: Setting<'_>, count: usize) -> ImageBatch<Host> {
    let device = Default::default();
    let normal = Distribution::Normal(0.0, 1.0);
    if setting.features.is_some() {
        let shape = setting.shape.head_shape();
        let [p, w] = shape.patches;
        let embedding = Tensor::random([count, shape.embedding], normal, &device);
        let patches = (p > 0).then(|| Tensor::random([count, p, w], normal, &device));
        return ImageBatch::Features(ImageOutput { embedding, patches });
    }
    let side = setting.rule.size_px as usize;
    ImageBatch::Pixels(Tensor::random([count, 3, side, side], normal, &device))
}
