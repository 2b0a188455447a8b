//! The training itself: epochs, steps, validation, and when to stop. It holds the weights; it writes no files.

use std::collections::HashMap;
use std::time::Instant;

use burn::backend::{Autodiff, Flex};
use burn::module::AutodiffModule;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{AdamW, AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::batches::epoch_batches;
use super::dataset::Example;
use super::loader::{Job, View, load_batches};
use super::message::{EpochRecord, Listener, Message, note};
use super::metrics::{Figures, Judged};
use super::model::{ModelShape, PreparedImages, ScoreUnit, Standardisation, TagScorer, values};
use super::optimise::{clip_together, learning_rate};
use super::pairs::{Rated, ranked_pairs};
use super::{TrainError, TrainOptions, loss};
use crate::image_input::InputRule;
use crate::text::TagTokenizer;

/// The backend that computes.
pub type Compute = Flex;
/// The backend that computes and differentiates.
pub type Learn = Autodiff<Flex>;

/// Softmax temperature of the contrast between tags.
const TEMPERATURE: f32 = 0.1;
/// Images that the statistics' mean and deviation are taken over, at most.
const STANDARDISATION_IMAGES: usize = 600;

/// What a training works on and with.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The options.
    pub options: &'a TrainOptions,
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

/// Mean losses of an epoch.
#[derive(Debug, Clone, Copy, Default)]
struct Means {
    total: f64,
    ranking: f64,
    squared_error: f64,
    steps: f64,
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

struct Learner<'a> {
    setting: Setting<'a>,
    model: TagScorer<Learn>,
    optimizer: OptimizerAdaptor<AdamW, TagScorer<Learn>, Learn>,
    unit: ScoreUnit,
    /// Mean and deviation of the alignments, where there are some.
    alignment: Option<(f32, f32)>,
    rng: StdRng,
    step: usize,
    steps: usize,
}

impl<'a> Learner<'a> {
    fn new(setting: Setting<'a>, listener: &mut dyn Listener) -> Result<Self, TrainError> {
        let options = setting.options;
        let device = Default::default();
        Learn::seed(&device, options.seed);
        let mut model = TagScorer::<Learn>::new(setting.shape, &device);
        let mut rng = StdRng::seed_from_u64(options.seed);
        model.image.standardise(&measure(setting, &mut rng, listener)?);
        // A tag that is too long is better refused now than in the middle of an epoch.
        setting.train.iter().try_for_each(|e| setting.tokenizer.encode(&e.tag, None).map(drop))?;
        let (mean, deviation) = spread(setting.train.iter().map(|e| e.score));
        let alignments: Vec<f32> = setting.train.iter().filter_map(|e| e.alignment).collect();
        let tags: Vec<&str> = setting.train.iter().map(|e| e.tag.as_str()).collect();
        let per_epoch =
            epoch_batches(&tags, options.batch, options.images_per_tag, &mut StdRng::seed_from_u64(0)).len();
        Ok(Self {
            setting,
            model,
            optimizer: AdamWConfig::new().with_weight_decay(options.weight_decay as f32).init(),
            unit: ScoreUnit { mean, deviation },
            alignment: (!alignments.is_empty()).then(|| spread(alignments.into_iter())),
            rng,
            step: 0,
            steps: per_epoch * options.epochs,
        })
    }

    fn epoch(&mut self, epoch: usize, listener: &mut dyn Listener) -> Result<Means, TrainError> {
        let (options, train) = (self.setting.options, self.setting.train);
        let tags: Vec<&str> = train.iter().map(|e| e.tag.as_str()).collect();
        let batches = epoch_batches(&tags, options.batch, options.images_per_tag, &mut self.rng);
        let mut job =
            |i: usize| Job { path: train[i].path.clone(), view: View::random(options.crop_px, &mut self.rng) };
        let jobs: Vec<Vec<Job>> = batches.iter().map(|batch| batch.iter().map(|&i| job(i)).collect()).collect();
        listener.on(Message::Begin { what: format!("epoch {epoch}"), steps: batches.len() as u64 });
        let mut means = Means::default();
        load_batches(&jobs, self.setting.rule, options.loader_threads, |index, images| {
            let examples: Vec<&Example> = batches[index].iter().map(|&i| &train[i]).collect();
            let [total, ranking, squared_error] = self.step(&examples, images)?;
            if !total.is_finite() {
                let images = examples.iter().map(|e| e.path.display().to_string()).collect();
                return Err(TrainError::Diverged { loss: total, epoch, step: index + 1, images });
            }
            means.total += total;
            means.ranking += ranking;
            means.squared_error += squared_error;
            means.steps += 1.0;
            listener.on(Message::Step { measure: format!("loss {:.3}", means.total / means.steps) });
            Ok(())
        })?;
        listener.on(Message::End);
        let n = means.steps.max(1.0);
        Ok(Means {
            total: means.total / n,
            ranking: means.ranking / n,
            squared_error: means.squared_error / n,
            ..means
        })
    }

    /// One step; answers with the whole loss, the ranking loss and the squared error.
    fn step(&mut self, batch: &[&Example], images: PreparedImages<Compute>) -> Result<[f64; 3], TrainError> {
        let options = self.setting.options;
        let device = Default::default();
        let (ids, text_of) = self.texts_of(batch)?;
        let image = self.model.image.forward_prepared(images.lift());
        let distinct = self.model.embed_texts(&ids, &device);
        let text_of = Tensor::<Learn, 1, Int>::from_data(text_of.as_slice(), &device);
        let text = distinct.clone().select(0, text_of.clone());
        let scores = self.model.head.forward(image.clone(), text.clone(), self.unit);

        let truth: Vec<f32> = batch.iter().map(|e| e.score).collect();
        let error = loss::squared_error(scores.clone(), Tensor::from_data(truth.as_slice(), &device));
        let rated: Vec<Rated<'_>> =
            batch.iter().map(|e| Rated { tag: &e.tag, score: e.score, alignment: e.alignment }).collect();
        let ranking = loss::ranking(scores, &ranked_pairs(&rated, options.tie_threshold));
        let mut total = error.clone() * options.lambda;
        if let Some(ranking) = &ranking {
            total = total + ranking.clone();
        }
        if let Some(alignment) = self.alignment_loss(batch, image.clone(), text) {
            total = total + alignment * options.alignment_weight;
        }
        if ids.len() > 1 && options.contrast_weight > 0.0 {
            let contrast = loss::contrast(image, distinct, text_of, TEMPERATURE);
            total = total + contrast * options.contrast_weight;
        }
        let losses = [scalar(&total), ranking.as_ref().map_or(0.0, scalar), scalar(&error)];
        if losses[0].is_finite() {
            let gradients = GradientsParams::from_grads(total.backward(), &self.model);
            let (gradients, _) = clip_together(&self.model, gradients, options.max_gradient_norm);
            let rate = learning_rate(options.lr, options.warmup_share, self.step, self.steps);
            self.model = self.optimizer.step(rate, self.model.clone(), gradients);
        }
        self.step += 1;
        Ok(losses)
    }

    /// The ids of the distinct texts of a batch, and each example's index among them. Now and then a tag gives way to the
    /// default tag or loses words; the images of one tag keep one text.
    fn texts_of(&mut self, batch: &[&Example]) -> Result<(Vec<Vec<i64>>, Vec<i64>), TrainError> {
        let mut text_of: HashMap<&str, usize> = HashMap::new();
        let mut texts: Vec<String> = Vec::new();
        let mut index = Vec::with_capacity(batch.len());
        for example in batch {
            let at = *text_of.entry(&example.tag).or_insert_with(|| {
                let text = self.vary(&example.tag);
                texts.iter().position(|t| *t == text).unwrap_or_else(|| {
                    texts.push(text);
                    texts.len() - 1
                })
            });
            index.push(at as i64);
        }
        let ids = texts.iter().map(|t| self.setting.tokenizer.encode(t, None)).collect::<Result<_, _>>()?;
        Ok((ids, index))
    }

    fn vary(&mut self, tag: &str) -> String {
        let options = self.setting.options;
        if self.rng.random::<f64>() < options.tag_dropout {
            return self.setting.default_tag.to_owned();
        }
        if options.word_dropout == 0.0 {
            return tag.to_owned();
        }
        let mut kept: Vec<&str> = tag.split_whitespace().collect();
        kept.retain(|_| self.rng.random::<f64>() >= options.word_dropout);
        if kept.is_empty() { tag.to_owned() } else { kept.join(" ") }
    }

    /// Squared error of the alignment that the similarity suggests, over the examples that have one.
    fn alignment_loss(
        &self,
        batch: &[&Example],
        image: Tensor<Learn, 2>,
        text: Tensor<Learn, 2>,
    ) -> Option<Tensor<Learn, 1>> {
        let (mean, deviation) = self.alignment?;
        let known: Vec<(i64, f32)> =
            (0i64..).zip(batch).filter_map(|(i, e)| e.alignment.map(|a| (i, (a - mean) / deviation))).collect();
        if known.is_empty() || self.setting.options.alignment_weight == 0.0 {
            return None;
        }
        let device = image.device();
        let (rows, truth): (Vec<i64>, Vec<f32>) = known.into_iter().unzip();
        let rows = Tensor::<Learn, 1, Int>::from_data(rows.as_slice(), &device);
        let similarity = loss::cosine(image.select(0, rows.clone()), text.select(0, rows));
        let expected = self.model.alignment.forward(similarity);
        Some(loss::squared_error(expected, Tensor::from_data(truth.as_slice(), &device)))
    }
}

fn scalar(x: &Tensor<Learn, 1>) -> f64 {
    x.clone().into_data().iter::<f64>().next().unwrap_or(f64::NAN)
}

/// Mean and population deviation; the deviation of constants counts as one.
fn spread(values: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / n;
    let variance = values.map(|v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    let deviation = variance.sqrt();
    (mean as f32, if deviation > 1e-6 { deviation as f32 } else { 1.0 })
}

/// Mean and deviation of the fixed statistics over random crops of training images.
fn measure(setting: Setting<'_>, rng: &mut StdRng, listener: &mut dyn Listener) -> Result<Standardisation, TrainError> {
    let stride = setting.train.len().div_ceil(STANDARDISATION_IMAGES).max(1);
    let jobs: Vec<Vec<Job>> = setting
        .train
        .iter()
        .step_by(stride)
        .map(|e| vec![Job { path: e.path.clone(), view: View::random(setting.options.crop_px, rng) }])
        .collect();
    listener.on(Message::Begin { what: "measuring".to_owned(), steps: jobs.len() as u64 });
    let mut rows: Vec<Vec<f32>> = Vec::with_capacity(jobs.len());
    load_batches(&jobs, setting.rule, setting.options.loader_threads, |_, images| {
        rows.push(values(images.statistics));
        listener.on(Message::Step { measure: String::new() });
        Ok(())
    })?;
    listener.on(Message::End);
    let columns = rows.first().map_or(0, Vec::len);
    let (mean, deviation) = (0..columns).map(|c| spread(rows.iter().map(move |row| row[c]))).unzip();
    Ok(Standardisation { mean, deviation })
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
    let jobs: Vec<Vec<Job>> =
        chunks.iter().map(|c| c.iter().map(|e| Job { path: e.path.clone(), view }).collect()).collect();
    listener.on(Message::Begin { what: "validation".to_owned(), steps: chunks.len() as u64 });
    let mut judged = Vec::with_capacity(setting.validation.len());
    load_batches(&jobs, setting.rule, setting.options.loader_threads, |index, images| {
        let ids =
            chunks[index].iter().map(|e| setting.tokenizer.encode(&e.tag, None)).collect::<Result<Vec<_>, _>>()?;
        let text = model.embed_texts(&ids, &device);
        let scores = model.head.forward(model.image.forward_prepared(images), text, unit);
        judged.extend(chunks[index].iter().zip(values(scores)).map(|(e, score)| Judged {
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
