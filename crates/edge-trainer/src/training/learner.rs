//! One training's weights and how a step changes them.

use std::collections::HashMap;
use std::ops::ControlFlow;

use burn::module::{AutodiffModule, Module};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{AdamW, AdamWConfig, GradientsAccumulator, GradientsParams, Optimizer};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Setting;
use super::strange::strange_texts;
use super::texts::TextMemory;
use super::units::spread;
use crate::batches::{Images, epoch_batches};
use crate::checkpoint::{Progress, StateDirectory, Sums, Weights};
use crate::dataset::Example;
use crate::device::Host;
use crate::loader::{Job, View};
use crate::message::{Listener, Message};
use crate::model::head::HeadInput;
use crate::model::{ImageBackbone, ImageBatch, ImageEncoder, ScoreUnit, TagScorer, TextOutput, in_bf16, values};
use crate::optimise::{RateShares, average, clip_together, draw, learning_rate};
use crate::options::Trainable;
use crate::pairs::{Rated, fits, ranked_pairs};
use crate::{TrainError, loss};
use edge_model::bundle::manifest::HeadKind;

/// Weight of the cross-entropy of what tags choose, where it is known what they should.
const CHOICE_WEIGHT: f64 = 1.0;
/// Softmax temperature of the contrast between tags.
const TEMPERATURE: f32 = 0.1;

pub(super) struct Learner<'a, L: AutodiffBackend> {
    setting: Setting<'a>,
    device: L::Device,
    pub(super) model: TagScorer<L>,
    /// The moving average of the weights, where one is asked for.
    average: Option<TagScorer<L::InnerBackend>>,
    optimizer: OptimizerAdaptor<AdamW, TagScorer<L>, L>,
    rates: RateShares,
    pub(super) unit: ScoreUnit,
    /// Mean and deviation of the alignments, where there are some.
    alignment: Option<(f32, f32)>,
    rng: StdRng,
    /// What a frozen text encoder made of the texts so far.
    texts: TextMemory<L::InnerBackend>,
}

impl<'a, L: AutodiffBackend> Learner<'a, L> {
    /// A fresh learner, or one that goes on from a kept state.
    pub(super) fn new(
        setting: Setting<'a>,
        device: &L::Device,
        kept: Option<&StateDirectory>,
    ) -> Result<Self, TrainError> {
        let options = setting.options;
        L::seed(device, options.seed);
        let mut model: TagScorer<L> = setting.backbone.model(setting.shape, device)?;
        if let Some(fit) = setting.fit {
            model.image = ImageBackbone::Small(ImageEncoder::new(fit, device));
        }
        if setting.features.is_some() {
            model.image = model.image.no_grad();
        }
        if setting.is_head_only() || !setting.teaches_text() {
            // Where no loss reads the texts, burn keeps what it notes of them until a loss does: for ever, and looks through it at each step.
            model.text = model.text.no_grad();
        }
        let mut optimizer = AdamWConfig::new().with_weight_decay(options.weight_decay as f32).init();
        let mut average = None;
        if let Some(state) = kept {
            let head_only = setting.is_head_only();
            let onto = model.clone();
            model = state.load_model(Weights::Fitted, onto, head_only)?;
            if options.ema > 0.0 {
                average = Some(state.load_model(Weights::Averaged, model.valid(), head_only)?);
            }
            optimizer = optimizer.load_record(state.load_optimizer::<L, _>(device)?);
        }
        draw(&model);
        if options.ema > 0.0 && average.is_none() {
            average = Some(model.valid());
        }
        // A tag that is too long is better refused now than in the middle of an epoch.
        setting.train.iter().try_for_each(|e| setting.tokenizer.encode(&e.tag, None).map(drop))?;
        let (mean, deviation) = spread(setting.train.iter().map(|e| e.score));
        let alignments: Vec<f32> = setting.train.iter().filter_map(|e| e.alignment).collect();
        let rates = rates(setting, &model);
        model = rates.freeze(model);
        Ok(Self {
            setting,
            device: device.clone(),
            model,
            average,
            optimizer,
            rates,
            unit: ScoreUnit { mean, deviation },
            alignment: (!alignments.is_empty()).then(|| spread(alignments.into_iter())),
            rng: StdRng::seed_from_u64(options.seed),
            texts: TextMemory::default(),
        })
    }

    /// A fresh learner that is not asked to measure images, for there are none.
    pub(super) fn on_made_up(setting: Setting<'a>, device: &L::Device) -> Result<Self, TrainError> {
        Self::new(Setting { train: &[], ..setting }, device, None).map(|learner| Self { setting, ..learner })
    }

    /// One step on one batch.
    pub(super) fn only_step(
        &mut self,
        place: [usize; 2],
        batch: &[&Example],
        pictures: ImageBatch<Host>,
        images: &Images,
    ) -> Result<(), TrainError> {
        let losses = self.losses(batch, pictures, images)?;
        let gradients = GradientsParams::from_grads(losses.all.backward(), &self.model);
        self.step(place, gradients);
        Ok(())
    }

    /// Goes through the rest of an epoch, of which the steps in `sums` are done; answers with the new sums and whether the epoch is
    /// whole. After each step `go_on` is asked with the sums so far; where it says no, the epoch stays unfinished.
    ///
    /// Every random choice comes from the seed, the epoch and the step alone, so that a resumed epoch is the same one.
    pub(super) fn epoch(
        &mut self,
        epoch: usize,
        mut sums: Sums,
        listener: &mut dyn Listener,
        mut go_on: impl FnMut(&Self, Sums) -> Result<bool, TrainError>,
    ) -> Result<(Sums, bool), TrainError> {
        let (options, train) = (self.setting.options, self.setting.train);
        let mut rng = StdRng::seed_from_u64(self.seed_of(epoch, 0));
        let batches = epoch_batches(train, options.batch, options.images_per_tag, &mut rng);
        let images: Vec<Images> = batches.iter().map(|batch| Images::of(train, batch)).collect();
        let crop_px = self.setting.rule.size_px;
        let mut job = |i: usize| Job::of(&train[i], View::random(crop_px, &mut rng));
        let jobs: Vec<Vec<Job>> = images.iter().map(|i| i.first.iter().map(|&i| job(i)).collect()).collect();
        let done = sums.steps.min(jobs.len());
        listener.on(Message::Begin { what: format!("epoch {epoch}"), steps: (jobs.len() - done) as u64 });
        let mut gathered = GradientsAccumulator::new();
        self.setting.loader().batches(&jobs[done..], |index, pictures| {
            let at = done + index;
            let examples: Vec<&Example> = batches[at].iter().map(|&i| &train[i]).collect();
            let seed = self.seed_of(epoch, at + 1);
            L::seed(&self.device, seed);
            self.rng = StdRng::seed_from_u64(seed);
            let Losses { all, total, ranking, squared_error } = self.losses(&examples, pictures, &images[at])?;
            if !total.is_finite() {
                let images = examples.iter().map(|e| e.path.display().to_string()).collect();
                return Err(TrainError::Diverged { loss: total, epoch, step: at + 1, images });
            }
            let mean = all * (1.0 / options.accumulate as f64);
            gathered.accumulate(&self.model, GradientsParams::from_grads(mean.backward(), &self.model));
            sums = Sums {
                total: sums.total + total,
                ranking: sums.ranking + ranking,
                squared_error: sums.squared_error + squared_error,
                steps: at + 1,
            };
            listener.on(Message::Step { measure: format!("loss {:.3}", sums.total / sums.steps as f64) });
            if !(at + 1).is_multiple_of(options.accumulate) && at + 1 < batches.len() {
                return Ok(ControlFlow::Continue(()));
            }
            self.step([(epoch - 1) * batches.len() + at, options.epochs * batches.len()], gathered.grads());
            Ok(if go_on(self, sums)? { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        listener.on(Message::End);
        Ok((sums, sums.steps >= batches.len()))
    }

    /// The weights that are judged and exported.
    pub(super) fn judged(&self) -> TagScorer<L::InnerBackend> {
        self.average.clone().unwrap_or_else(|| self.model.valid())
    }

    /// Keeps the weights and the optimizer's memory; of frozen encoders nothing, for they are where they came from.
    pub(super) fn save(&self, state: &StateDirectory, progress: &Progress) -> Result<(), TrainError> {
        let head_only = self.setting.is_head_only();
        state.save(progress, head_only, &self.model, self.average.as_ref(), self.optimizer.to_record())
    }

    /// A seed of its own for each step (SplitMix64's finaliser: Steele, Lea, Flood, 2014).
    fn seed_of(&self, epoch: usize, step: usize) -> u64 {
        let mut z = self.setting.options.seed ^ ((epoch as u64) << 40) ^ (step as u64);
        z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One step along the gathered gradients; `at` is the number of its last batch in a training of `all` batches.
    fn step(&mut self, [at, all]: [usize; 2], gradients: GradientsParams) {
        let options = self.setting.options;
        let (gradients, _) = clip_together(&self.model, gradients, options.max_gradient_norm);
        let rate = learning_rate(options.lr, options.warmup_share, at, all);
        for (share, gradients) in self.rates.split(&self.model, gradients) {
            self.model = self.optimizer.step(rate * share, self.model.clone(), gradients);
        }
        if let Some(before) = self.average.take() {
            self.average = Some(average(before, &self.model.valid(), options.ema, at));
        }
    }

    /// The losses of a batch.
    fn losses(
        &mut self,
        batch: &[&Example],
        pictures: ImageBatch<Host>,
        images: &Images,
    ) -> Result<Losses<L>, TrainError> {
        let options = self.setting.options;
        let device = self.device.clone();
        let (texts, text_of) = self.texts_of(batch);
        let pictures = pictures.carry::<L::InnerBackend>(&device);
        let bf16 = self.setting.bf16();
        let mut image = in_bf16(bf16, || self.model.image.forward(pictures.lift()));
        if let Some(rows) = images.rows() {
            image = image.select(Tensor::from_data(rows.as_slice(), &device));
        }
        let distinct = in_bf16(bf16, || self.encode(&texts))?;
        let choice = self.choice_loss(batch, &texts, (&text_of, distinct.embedding.clone()));
        let text_of = Tensor::<L, 1, Int>::from_data(text_of.as_slice(), &device);
        let text = distinct.select(text_of.clone());
        let (image_embedding, text_embedding) = (image.embedding.clone(), text.embedding.clone());
        let input =
            HeadInput { image: image.embedding, patches: image.patches, text: text.embedding, tokens: text.tokens };
        let scores = in_bf16(bf16, || self.model.head.forward(input, self.unit));

        let truth: Vec<f32> = batch.iter().map(|e| e.score).collect();
        let error = loss::squared_error(scores.clone(), Tensor::from_data(truth.as_slice(), &device));
        let fits = self.fits(batch, &image_embedding, &text_embedding);
        let rated: Vec<Rated<'_>> =
            batch.iter().zip(fits).map(|(e, alignment)| Rated { tag: &e.tag, score: e.score, alignment }).collect();
        let ranking = loss::ranking(scores, &ranked_pairs(&rated, options.tie_threshold));
        let mut total = error.clone() * options.lambda;
        if let Some(ranking) = &ranking {
            total = total + ranking.clone();
        }
        if let Some(choice) = choice {
            total = total + choice * CHOICE_WEIGHT;
        }
        // Neither can change frozen encoders.
        if !self.setting.is_head_only() && self.setting.teaches_text() {
            if let Some(alignment) = self.alignment_loss(batch, image_embedding.clone(), text_embedding) {
                total = total + alignment * options.alignment_weight;
            }
            if texts.len() > 1 && options.contrast_weight > 0.0 {
                let contrast = loss::contrast(image_embedding, distinct.embedding, text_of, TEMPERATURE);
                total = total + contrast * options.contrast_weight;
            }
        }
        Ok(Losses {
            total: scalar(&total),
            ranking: ranking.as_ref().map_or(0.0, scalar),
            squared_error: scalar(&error),
            all: total,
        })
    }

    /// The distinct texts of a batch, and each example's index among them. Now and then a tag gives way to the default tag or
    /// loses words; the images of one tag keep one text.
    fn texts_of(&mut self, batch: &[&Example]) -> (Vec<String>, Vec<i64>) {
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
        (texts, index)
    }

    /// Encodes texts; a frozen encoder sees each of them once.
    fn encode(&mut self, texts: &[String]) -> Result<TextOutput<L>, TrainError> {
        let ids = |text: &String| self.setting.tokenizer.encode(text, None);
        if !self.setting.is_head_only() {
            return Ok(self.model.embed_texts(&texts.iter().map(ids).collect::<Result<Vec<_>, _>>()?, &self.device));
        }
        let model = &self.model;
        let texts = texts.iter().map(String::as_str);
        Ok(self.texts.encode(texts, self.setting.tokenizer, &self.device, || model.valid())?.lift())
    }

    /// Cross-entropy of what the distinct texts choose, where the head lets them and the right choice is known: that of the tag, or the
    /// first number for the default tag and for texts that mean nothing. The ranking alone would have every prompt choose what fits
    /// its few images, and a tag that is never trained on choose anything.
    fn choice_loss(
        &mut self,
        batch: &[&Example],
        texts: &[String],
        (text_of, embedding): (&[i64], Tensor<L, 2>),
    ) -> Option<Tensor<L, 1>> {
        let setting = self.setting;
        // Other heads have no use for the texts, and burn would keep what no loss reads.
        let answer_of = setting.answer_of.filter(|_| setting.shape.head == HeadKind::WeightedSum)?;
        let device = embedding.device();
        let strange = strange_texts(setting, &mut self.rng);
        let embedding = Tensor::cat(vec![embedding, self.model.embed_texts(&strange, &device).embedding], 0);
        let logits = self.model.head.choice(embedding)?;
        let mut right = vec![0i64; texts.len() + strange.len()];
        for (example, &text) in batch.iter().zip(text_of) {
            let text = text as usize;
            if texts[text] != self.setting.default_tag {
                right[text] = answer_of.get(&example.tag).map_or(0, |&answer| answer as i64);
            }
        }
        Some(loss::choice(logits, Tensor::from_data(right.as_slice(), &device)))
    }

    /// See [`fits`]; the similarity is that of this batch's embeddings.
    fn fits(&self, batch: &[&Example], image: &Tensor<L, 2>, text: &Tensor<L, 2>) -> Vec<Option<f32>> {
        let similarity = || values(loss::cosine(image.clone().inner(), text.clone().inner()));
        let similarity = self.setting.backbone.knows_similarity().then_some(similarity);
        fits(batch.iter().map(|e| e.alignment).collect(), similarity)
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
    fn alignment_loss(&self, batch: &[&Example], image: Tensor<L, 2>, text: Tensor<L, 2>) -> Option<Tensor<L, 1>> {
        let (mean, deviation) = self.alignment?;
        let known: Vec<(i64, f32)> =
            (0i64..).zip(batch).filter_map(|(i, e)| e.alignment.map(|a| (i, (a - mean) / deviation))).collect();
        if known.is_empty() || self.setting.options.alignment_weight == 0.0 {
            return None;
        }
        let device = image.device();
        let (rows, truth): (Vec<i64>, Vec<f32>) = known.into_iter().unzip();
        let rows = Tensor::<L, 1, Int>::from_data(rows.as_slice(), &device);
        let similarity = loss::cosine(image.select(0, rows.clone()), text.select(0, rows));
        let expected = self.model.alignment.forward(similarity);
        Some(loss::squared_error(expected, Tensor::from_data(truth.as_slice(), &device)))
    }
}

/// The losses of a batch.
struct Losses<L: AutodiffBackend> {
    /// What is minimised.
    all: Tensor<L, 1>,
    /// Its value.
    total: f64,
    ranking: f64,
    squared_error: f64,
}

/// Encoders that come trained are fitted gently, the layers near the input most of all; `last:N` leaves the others alone.
fn rates<L: AutodiffBackend>(setting: Setting<'_>, model: &TagScorer<L>) -> RateShares {
    let mut rates = RateShares::default();
    let options = setting.options;
    let trained = match options.trainable {
        Trainable::Last(layers) => layers,
        Trainable::Auto | Trainable::Head | Trainable::All => usize::MAX,
    };
    if setting.backbone.is_trained() && setting.features.is_none() {
        for layers in [model.image.layer_ids(), model.text.layer_ids()] {
            rates.add(&layers, options.encoder_lr, options.layer_decay, trained);
        }
    }
    rates
}

fn scalar<L: AutodiffBackend>(x: &Tensor<L, 1>) -> f64 {
    x.clone().into_data().iter::<f64>().next().unwrap_or(f64::NAN)
}
