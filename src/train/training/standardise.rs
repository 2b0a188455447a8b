//! Units: the mean and the deviation of scores, alignments and measured statistics.

use std::ops::ControlFlow;

use rand::rngs::StdRng;

use super::Setting;
use crate::train::TrainError;
use crate::train::loader::{Job, View};
use crate::train::message::{Listener, Message};
use crate::train::model::{ImageBatch, STATISTICS, Standardisation, values};

/// Images that the statistics' mean and deviation are taken over, at most.
const IMAGES: usize = 600;

/// Mean and population deviation; the deviation of constants counts as one.
pub(super) fn spread(values: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / n;
    let variance = values.map(|v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    let deviation = variance.sqrt();
    (mean as f32, if deviation > 1e-6 { deviation as f32 } else { 1.0 })
}

/// Mean and deviation of the small encoder's fixed statistics over random crops of training images; 0 and 1 without images.
pub(super) fn measure(
    setting: Setting<'_>,
    rng: &mut StdRng,
    listener: &mut dyn Listener,
) -> Result<Standardisation, TrainError> {
    let stride = setting.train.len().div_ceil(IMAGES).max(1);
    let crop_px = setting.backbone.crop_px(setting.options);
    let jobs: Vec<Vec<Job>> =
        setting.train.iter().step_by(stride).map(|e| vec![Job::of(e, View::random(crop_px, rng))]).collect();
    listener.on(Message::Begin { what: "measuring".to_owned(), steps: jobs.len() as u64 });
    let mut rows: Vec<Vec<f32>> = Vec::with_capacity(jobs.len());
    setting.loader().batches(&jobs, |_, images| {
        if let ImageBatch::Prepared(images) = images {
            rows.push(values(images.statistics));
        }
        listener.on(Message::Step { measure: String::new() });
        Ok(ControlFlow::Continue(()))
    })?;
    listener.on(Message::End);
    let (mean, deviation) = (0..STATISTICS).map(|c| spread(rows.iter().map(move |row| row[c]))).unzip();
    Ok(Standardisation { mean, deviation })
}
