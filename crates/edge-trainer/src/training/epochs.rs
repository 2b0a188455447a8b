//! The loop over epochs: train, validate, keep the best weights, stop.

use std::path::Path;
use std::time::{Duration, Instant};

use burn::tensor::backend::{AutodiffBackend, Backend};

use super::error::LearnError;
use super::inputs::TrainInputs;
use super::keeper::Keeper;
use super::learner::Learner;
use super::validation::{merit, validate};
use crate::checkpoint::{LossSums, TrainProgress};
use crate::device::{DeviceTask, Host, to_host};
use crate::message::{EpochRecord, Listener, Message, note};
use crate::metrics::Figures;
use crate::model::{ScoreUnit, TagScorer};

/// Time between two saved states within an epoch.
const BETWEEN_STATES: Duration = Duration::from_secs(600);

/// The result of a training.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The weights of the best epoch.
    pub model: TagScorer<Host>,
    /// The unit of the scores.
    pub unit: ScoreUnit,
    /// The figures of every epoch.
    pub epochs: Vec<EpochRecord>,
}

/// Trains the weights from the beginning or from a saved state.
///
/// # Errors
/// [`LearnError::Diverged`], [`LearnError::Stopped`], [`LearnError::Load`], [`LearnError::Text`], and the errors of the
/// keeper.
pub fn train(
    inputs: TrainInputs<'_>,
    resumed: Option<TrainProgress>,
    keeper: &mut dyn Keeper,
    listener: &mut dyn Listener,
) -> Result<Trained, LearnError> {
    inputs.device.run(TrainTask { inputs, resumed, keeper, listener })?
}

struct TrainTask<'a> {
    inputs: TrainInputs<'a>,
    resumed: Option<TrainProgress>,
    keeper: &'a mut dyn Keeper,
    listener: &'a mut dyn Listener,
}

impl DeviceTask for TrainTask<'_> {
    type Output = Result<Trained, LearnError>;

    fn run<L: AutodiffBackend>(self, device: &L::Device) -> Self::Output {
        let Self { inputs, resumed, keeper, listener } = self;
        let state = resumed.is_some().then(|| keeper.state().clone());
        let mut learner = Learner::<L>::new(inputs, device, state.as_ref())?;
        let mut progress = resumed.unwrap_or_else(|| beginning(inputs));
        let (before, started) = (progress.seconds, Instant::now());
        let seconds = || before + started.elapsed().as_secs_f64();
        let mut best = progress.best.map(|_| keeper.best()).transpose()?;
        while progress.epoch <= inputs.options.epochs && progress.since_best <= inputs.options.patience {
            finish_epoch(&mut learner, &mut progress, &seconds, keeper, listener)?;
            let model = learner.judged();
            let figures = validate(&model, device, learner.unit(), inputs, listener)?;
            let merit = merit(&figures);
            let is_best = progress.best.is_none_or(|highest| merit > highest);
            let record = epoch_record(&progress, &figures, is_best, seconds());
            let model = is_best.then(|| on_host(model, inputs)).transpose()?;
            keeper.keep_epoch(&record, learner.unit(), model.as_ref())?;
            listener.on(Message::Epoch(record.clone()));
            progress.epochs.push(record);
            progress.since_best = if is_best { 0 } else { progress.since_best + 1 };
            if is_best {
                (progress.best, best) = (Some(merit), model);
            }
            (progress.epoch, progress.sums) = (progress.epoch + 1, LossSums::default());
            progress.seconds = seconds();
            learner.save(keeper.state(), &progress)?;
        }
        if progress.since_best > inputs.options.patience {
            note(listener, format!("the training ends: no improvement in the last {} epochs", progress.since_best));
        }
        let model = best.ok_or_else(|| LearnError::Internal("no epoch was trained".to_owned()))?;
        Ok(Trained { model, unit: learner.unit(), epochs: progress.epochs })
    }
}

/// The progress before the first step.
fn beginning(inputs: TrainInputs<'_>) -> TrainProgress {
    TrainProgress {
        epoch: 1,
        sums: LossSums::default(),
        epochs: Vec::new(),
        best: None,
        since_best: 0,
        seconds: 0.0,
        data_sha256: inputs.data_sha256.to_owned(),
    }
}

/// The record of the epoch that `progress` has finished.
fn epoch_record(progress: &TrainProgress, figures: &Figures, best: bool, seconds: f64) -> EpochRecord {
    let n = progress.sums.steps.max(1) as f64;
    EpochRecord {
        epoch: progress.epoch,
        loss: progress.sums.total / n,
        ranking: progress.sums.ranking / n,
        squared_error: progress.sums.squared_error / n,
        srcc: figures.srcc,
        within_tag_srcc: figures.within_tag_srcc,
        best,
        seconds,
    }
}

/// A copy of the weights on the processor, for the run directory and the export.
fn on_host<B: Backend>(model: TagScorer<B>, inputs: TrainInputs<'_>) -> Result<TagScorer<Host>, LearnError> {
    to_host(model, || Ok(inputs.backbone.model::<Host>(inputs.shape, &Default::default())?))
}

/// Trains the remaining steps of the epoch. Saves the state every [`BETWEEN_STATES`] and when the training must stop.
/// `seconds` returns the time that the training has taken so far.
fn finish_epoch<L: AutodiffBackend>(
    learner: &mut Learner<'_, L>,
    progress: &mut TrainProgress,
    seconds: &dyn Fn() -> f64,
    keeper: &mut dyn Keeper,
    listener: &mut dyn Listener,
) -> Result<(), LearnError> {
    let (epoch, before) = (progress.epoch, progress.sums);
    let mut saved = Instant::now();
    let (sums, is_finished) = learner.epoch(epoch, before, listener, |learner, sums| {
        let stopped = keeper.is_stopped();
        if stopped || saved.elapsed() >= BETWEEN_STATES {
            saved = Instant::now();
            let so_far = TrainProgress { sums, seconds: seconds(), ..progress.clone() };
            learner.save(keeper.state(), &so_far)?;
        }
        Ok(!stopped)
    })?;
    if !is_finished {
        let run = keeper.state().path().parent().unwrap_or(Path::new(".")).to_owned();
        return Err(LearnError::Stopped { epoch, step: sums.steps, run });
    }
    progress.sums = sums;
    Ok(())
}
