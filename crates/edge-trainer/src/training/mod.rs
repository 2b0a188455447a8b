//! The training itself: epochs, steps, validation, and when to stop. It holds the weights; it writes no run.

mod features;
mod image_fit;
mod learner;
mod step_time;
mod strange;
mod texts;
mod units;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

pub use features::{Frozen, keep_features};
pub use image_fit::fit_image_encoder;
use learner::Learner;
pub use step_time::{made_up_examples, time_steps};
use texts::TextMemory;

use super::backbone::Backbone;
use super::batches::{Images, in_order};
use super::checkpoint::{Progress, StateDirectory, Sums};
use super::dataset::Example;
use super::device::{Host, Place, Work, to_host};
use super::features::Features;
use super::loader::{Job, Loader, View};
use super::message::{EpochRecord, Listener, Message, note};
use super::metrics::{Figures, Judged};
use super::model::head::{HeadInput, record};
use super::model::{Fit, ModelShape, ScoreUnit, TagScorer, values};
use super::options::Precision;
use super::{TrainError, TrainOptions};
use edge_model::bundle::manifest::TextSide;
use edge_model::image_input::InputRule;
use edge_model::text::TagTokenizer;

/// Validation images per run of the encoder.
const VALIDATED: usize = 8;
/// Time between two states within an epoch.
const BETWEEN_STATES: Duration = Duration::from_secs(600);

/// What a training works on and with.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The options.
    pub options: &'a TrainOptions,
    /// Where to train.
    pub place: &'a Place,
    /// The encoders.
    pub backbone: &'a Backbone,
    /// What the weights are fitted to.
    pub train: &'a [Example],
    /// What decides when to stop.
    pub validation: &'a [Example],
    /// How images are normalised; its size is the validation's.
    pub rule: &'a InputRule,
    /// How tags become ids.
    pub tokenizer: &'a TagTokenizer,
    /// The tag that stands in where none is known.
    pub default_tag: &'a str,
    /// Shapes of the weights.
    pub shape: &'a ModelShape,
    /// Digest of the data.
    pub data_sha256: &'a str,
    /// The small image encoder, which is fitted before.
    pub fit: Option<&'a Fit>,
    /// Which number of the embedding answers a tag, where that is known.
    pub answer_of: Option<&'a HashMap<String, usize>>,
    /// The images' features, where their encoder stays as it is.
    pub features: Option<Features<'a>>,
}

impl<'a> Setting<'a> {
    /// Whether the losses on the similarity have something to teach.
    fn teaches_text(self) -> bool {
        self.backbone.has_text() && record(self.shape.head).text_side != TextSide::Nothing
    }

    /// Whether both encoders stay as they came.
    fn is_head_only(self) -> bool {
        matches!(self.features, Some(Features::Kept(_)))
    }

    /// Whether matrix products are done in 16 bits.
    fn bf16(self) -> bool {
        self.options.precision.on(self.place) == Precision::Bf16
    }

    fn loader(self) -> Loader<'a> {
        Loader { rule: self.rule, features: self.features, threads: self.options.loader_threads }
    }
}

/// The best weights and what they work in.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The weights of the best epoch.
    pub model: TagScorer<Host>,
    /// The unit of the scores.
    pub unit: ScoreUnit,
    /// Every epoch in figures.
    pub epochs: Vec<EpochRecord>,
}

/// Where a training keeps what it has, and who may stop it.
pub trait Keeper {
    /// Takes an epoch's record, with the weights where it is the best so far.
    ///
    /// # Errors
    /// [`TrainError::File`].
    fn epoch(
        &mut self,
        record: &EpochRecord,
        unit: ScoreUnit,
        best: Option<&TagScorer<Host>>,
    ) -> Result<(), TrainError>;

    /// The best weights that an earlier part of this training has kept.
    ///
    /// # Errors
    /// [`TrainError::File`].
    fn best(&self) -> Result<TagScorer<Host>, TrainError>;

    /// Where the state between two steps is kept.
    fn state(&self) -> &StateDirectory;

    /// Whether the training is to stop.
    fn is_stopped(&self) -> bool;
}

/// Fits the weights, from the beginning or from `resumed` on.
///
/// # Errors
/// [`TrainError::Diverged`], [`TrainError::Stopped`], [`TrainError::Image`], [`TrainError::Text`] and whatever the keeper says.
pub fn train(
    setting: Setting<'_>,
    resumed: Option<Progress>,
    keeper: &mut dyn Keeper,
    listener: &mut dyn Listener,
) -> Result<Trained, TrainError> {
    setting.place.run(Fitting { setting, resumed, keeper, listener })?
}

/// A training, for the device that it is to be done on.
struct Fitting<'a> {
    setting: Setting<'a>,
    resumed: Option<Progress>,
    keeper: &'a mut dyn Keeper,
    listener: &'a mut dyn Listener,
}

impl Work for Fitting<'_> {
    type Output = Result<Trained, TrainError>;

    fn on<L: AutodiffBackend>(self, device: &L::Device) -> Self::Output {
        train_on::<L>(self, device)
    }
}

fn train_on<L: AutodiffBackend>(fitting: Fitting<'_>, device: &L::Device) -> Result<Trained, TrainError> {
    let Fitting { setting, resumed, keeper, listener } = fitting;
    let kept = resumed.is_some().then(|| keeper.state().clone());
    let mut learner = Learner::<L>::new(setting, device, kept.as_ref())?;
    let mut progress = resumed.unwrap_or_else(|| Progress {
        epoch: 1,
        sums: Sums::default(),
        epochs: Vec::new(),
        best: None,
        since_best: 0,
        seconds: 0.0,
        data_sha256: setting.data_sha256.to_owned(),
    });
    let clock = Clock { before: progress.seconds, started: Instant::now() };
    let mut best = progress.best.map(|_| keeper.best()).transpose()?;
    while progress.epoch <= setting.options.epochs && progress.since_best <= setting.options.patience {
        one_epoch(&mut learner, &mut progress, clock, keeper, listener)?;
        let model = learner.judged();
        let judged = judge(&model, device, learner.unit, setting, listener)?;
        let figures = Figures::of(&judged, f64::from(setting.options.tie_threshold));
        let merit = merit(&figures);
        let is_best = progress.best.is_none_or(|highest| merit > highest);
        let n = progress.sums.steps.max(1) as f64;
        let record = EpochRecord {
            epoch: progress.epoch,
            loss: progress.sums.total / n,
            ranking: progress.sums.ranking / n,
            squared_error: progress.sums.squared_error / n,
            srcc: figures.srcc,
            within_tag_srcc: figures.within_tag_srcc,
            best: is_best,
            seconds: clock.seconds(),
        };
        let model = is_best.then(|| on_host(model, setting)).transpose()?;
        keeper.epoch(&record, learner.unit, model.as_ref())?;
        listener.on(Message::Epoch(record.clone()));
        progress.epochs.push(record);
        progress.since_best = if is_best { 0 } else { progress.since_best + 1 };
        if is_best {
            (progress.best, best) = (Some(merit), model);
        }
        (progress.epoch, progress.sums) = (progress.epoch + 1, Sums::default());
        progress.seconds = clock.seconds();
        learner.save(keeper.state(), &progress)?;
    }
    if progress.since_best > setting.options.patience {
        note(listener, format!("no better for {} epochs: the training ends here", progress.since_best));
    }
    let model = best.ok_or_else(|| TrainError::Internal("no epoch was trained".to_owned()))?;
    Ok(Trained { model, unit: learner.unit, epochs: progress.epochs })
}

/// The weights, to be kept and exported.
fn on_host<B: Backend>(model: TagScorer<B>, setting: Setting<'_>) -> Result<TagScorer<Host>, TrainError> {
    to_host(model, || setting.backbone.model::<Host>(setting.shape, &Default::default()))
}

/// Time spent, over all parts of a training.
#[derive(Debug, Clone, Copy)]
struct Clock {
    before: f64,
    started: Instant,
}

impl Clock {
    fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }
}

/// The steps of an epoch that are not done yet; the state is kept now and then, and when the training is to stop.
fn one_epoch<L: AutodiffBackend>(
    learner: &mut Learner<'_, L>,
    progress: &mut Progress,
    clock: Clock,
    keeper: &mut dyn Keeper,
    listener: &mut dyn Listener,
) -> Result<(), TrainError> {
    let (epoch, before) = (progress.epoch, progress.sums);
    let mut saved = Instant::now();
    let (sums, is_whole) = learner.epoch(epoch, before, listener, |learner, sums| {
        let stopped = keeper.is_stopped();
        if stopped || saved.elapsed() >= BETWEEN_STATES {
            saved = Instant::now();
            let so_far = Progress { sums, seconds: clock.seconds(), ..progress.clone() };
            learner.save(keeper.state(), &so_far)?;
        }
        Ok(!stopped)
    })?;
    if !is_whole {
        let run = keeper.state().path().parent().unwrap_or(Path::new(".")).to_owned();
        return Err(TrainError::Stopped { epoch, step: sums.steps, run });
    }
    progress.sums = sums;
    Ok(())
}

/// What the epochs are compared by: the mean of both correlations, as far as they are defined.
pub fn merit(figures: &Figures) -> f64 {
    let defined: Vec<f64> = [figures.srcc, figures.within_tag_srcc].into_iter().filter(|v| v.is_finite()).collect();
    if defined.is_empty() { -figures.error_mean } else { defined.iter().sum::<f64>() / defined.len() as f64 }
}

/// Scores the validation images under their own tags, as the scorer will see them.
fn judge<B: Backend>(
    model: &TagScorer<B>,
    device: &B::Device,
    unit: ScoreUnit,
    setting: Setting<'_>,
    listener: &mut dyn Listener,
) -> Result<Vec<Judged>, TrainError> {
    let mut texts = TextMemory::default();
    let view = View::centre(setting.rule.size_px);
    let examples = setting.validation;
    let chunks = in_order(examples, VALIDATED);
    let images: Vec<Images> = chunks.iter().map(|chunk| Images::of(examples, chunk)).collect();
    let job = |i: &usize| Job::of(&examples[*i], view);
    let jobs: Vec<Vec<Job>> = images.iter().map(|images| images.first.iter().map(job).collect()).collect();
    listener.on(Message::Begin { what: "validation".to_owned(), steps: chunks.len() as u64 });
    let mut judged = Vec::with_capacity(setting.validation.len());
    setting.loader().batches(&jobs, |index, pictures| {
        let chunk: Vec<&Example> = chunks[index].iter().map(|&i| &examples[i]).collect();
        let tags = chunk.iter().map(|e| e.tag.as_str());
        let text = texts.encode(tags, setting.tokenizer, device, || model.clone())?;
        let mut image = model.image.forward(pictures.carry::<B>(device));
        if let Some(rows) = images[index].rows() {
            image = image.select(Tensor::from_data(rows.as_slice(), device));
        }
        let input =
            HeadInput { image: image.embedding, patches: image.patches, text: text.embedding, tokens: text.tokens };
        let scores = values(model.head.forward(input, unit));
        judged.extend(chunk.iter().zip(scores).map(|(e, score)| Judged {
            tag: e.tag.clone(),
            truth: f64::from(e.score),
            prediction: f64::from(score),
        }));
        listener.on(Message::Step { measure: String::new() });
        Ok(ControlFlow::Continue(()))
    })?;
    listener.on(Message::End);
    Ok(judged)
}
