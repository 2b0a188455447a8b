//! The training itself: epochs, steps, validation, and when to stop. It holds the weights; it writes no run.

mod features;
mod learner;
mod standardise;

use std::time::Instant;

use burn::backend::{Autodiff, Flex};
use burn::module::AutodiffModule;

pub use features::keep_features;
use learner::Learner;

use super::backbone::Backbone;
use super::cache::FeatureCache;
use super::dataset::Example;
use super::loader::{Job, Loader, View};
use super::message::{EpochRecord, Listener, Message, note};
use super::metrics::{Figures, Judged};
use super::model::head::{HeadInput, record};
use super::model::{ModelShape, ScoreUnit, TagScorer, values};
use super::{TrainError, TrainOptions};
use crate::bundle::manifest::TextSide;
use crate::image_input::InputRule;
use crate::text::TagTokenizer;

/// The backend that computes.
pub type Compute = Flex;
/// The backend that computes and differentiates.
pub type Learn = Autodiff<Flex>;

/// What a training works on and with.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The options.
    pub options: &'a TrainOptions,
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
    /// The images' features, where the encoders are frozen.
    pub features: Option<&'a FeatureCache>,
}

impl<'a> Setting<'a> {
    /// Whether the losses on the similarity have something to teach.
    fn teaches_text(self) -> bool {
        self.backbone.has_text() && record(self.shape.head).text_side != TextSide::Nothing
    }

    fn loader(self) -> Loader<'a> {
        Loader {
            rule: self.rule,
            is_small: self.shape.backbone.is_small(),
            features: self.features,
            threads: self.options.loader_threads,
        }
    }
}

/// The best weights and what they work in.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The weights of the best epoch.
    pub model: TagScorer<Compute>,
    /// The unit of the scores.
    pub unit: ScoreUnit,
    /// Every epoch in figures.
    pub epochs: Vec<EpochRecord>,
}

/// Fits the weights; `keep` is given every epoch's record, with the weights where it is the best so far.
///
/// # Errors
/// [`TrainError::Diverged`], [`TrainError::Image`], [`TrainError::Text`] and whatever `keep` says.
pub fn train(
    setting: Setting<'_>,
    listener: &mut dyn Listener,
    mut keep: impl FnMut(&EpochRecord, ScoreUnit, Option<&TagScorer<Compute>>) -> Result<(), TrainError>,
) -> Result<Trained, TrainError> {
    let mut learner = Learner::new(setting, listener)?;
    let started = Instant::now();
    let mut best: Option<(f64, TagScorer<Compute>)> = None;
    let (mut epochs, mut since_best) = (Vec::new(), 0);
    for epoch in 1..=setting.options.epochs {
        let means = learner.epoch(epoch, listener)?;
        let model = learner.model.valid();
        let judged = judge(&model, learner.unit, setting, listener)?;
        let figures = Figures::of(&judged, f64::from(setting.options.tie_threshold));
        let merit = merit(&figures);
        let is_best = best.as_ref().is_none_or(|(highest, _)| merit > *highest);
        let record = EpochRecord {
            epoch,
            loss: means.total,
            ranking: means.ranking,
            squared_error: means.squared_error,
            srcc: figures.srcc,
            within_tag_srcc: figures.within_tag_srcc,
            best: is_best,
            seconds: started.elapsed().as_secs_f64(),
        };
        keep(&record, learner.unit, is_best.then_some(&model))?;
        listener.on(Message::Epoch(record.clone()));
        epochs.push(record);
        since_best = if is_best { 0 } else { since_best + 1 };
        if is_best {
            best = Some((merit, model));
        } else if since_best > setting.options.patience {
            note(listener, format!("no better for {since_best} epochs: the training ends here"));
            break;
        }
    }
    let (_, model) = best.ok_or_else(|| TrainError::Internal("no epoch was trained".to_owned()))?;
    Ok(Trained { model, unit: learner.unit, epochs })
}

/// What the epochs are compared by: the mean of both correlations, as far as they are defined.
pub fn merit(figures: &Figures) -> f64 {
    let defined: Vec<f64> = [figures.srcc, figures.within_tag_srcc].into_iter().filter(|v| v.is_finite()).collect();
    if defined.is_empty() { -figures.error_mean } else { defined.iter().sum::<f64>() / defined.len() as f64 }
}

/// Scores the validation images under their own tags, as the scorer will see them.
fn judge(
    model: &TagScorer<Compute>,
    unit: ScoreUnit,
    setting: Setting<'_>,
    listener: &mut dyn Listener,
) -> Result<Vec<Judged>, TrainError> {
    let device = Default::default();
    let view = View::centre(setting.rule.size_px);
    let chunks: Vec<&[Example]> = setting.validation.chunks(8).collect();
    let jobs: Vec<Vec<Job>> = chunks.iter().map(|c| c.iter().map(|e| Job::of(e, view)).collect()).collect();
    listener.on(Message::Begin { what: "validation".to_owned(), steps: chunks.len() as u64 });
    let mut judged = Vec::with_capacity(setting.validation.len());
    setting.loader().batches(&jobs, |index, images| {
        let ids =
            chunks[index].iter().map(|e| setting.tokenizer.encode(&e.tag, None)).collect::<Result<Vec<_>, _>>()?;
        let (image, text) = (model.image.forward(images), model.embed_texts(&ids, &device));
        let input =
            HeadInput { image: image.embedding, patches: image.patches, text: text.embedding, tokens: text.tokens };
        let scores = values(model.head.forward(input, unit));
        judged.extend(chunks[index].iter().zip(scores).map(|(e, score)| Judged {
            tag: e.tag.clone(),
            truth: f64::from(e.score),
            prediction: f64::from(score),
        }));
        listener.on(Message::Step { measure: String::new() });
        Ok(())
    })?;
    listener.on(Message::End);
    Ok(judged)
}
