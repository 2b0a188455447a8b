//! The learner: the weights of a training and the optimizer steps that change them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::module::{AutodiffModule, Module};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{AdamW, AdamWConfig, GradientsAccumulator, GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::error::LearnError;
use super::inputs::TrainInputs;
use super::objective::{Losses, Objective};
use crate::Trainable;
use crate::batches::{BatchImages, epoch_batches};
use crate::checkpoint::{LossSums, StateDirectory, TrainProgress, WeightSet};
use crate::dataset::Example;
use crate::device::Host;
use crate::features::FittedEncoder;
use crate::loader::{Crop, LoadJob};
use crate::message::{Listener, Message};
use crate::model::head::{Head, KnownTag, MatchFit};
use crate::model::kernel_encoder::CONTENT;
use crate::model::{ImageBatch, ScoreUnit, TagScorer, TokenMeans, values};
use crate::optimise::{RateShares, average, clip_together, draw, learning_rate};

/// The weights of a training and the state of its optimizer.
pub(super) struct Learner<'a, L: AutodiffBackend> {
    inputs: TrainInputs<'a>,
    device: L::Device,
    model: TagScorer<L>,
    /// The moving average of the weights, if `ema` is not 0.
    average: Option<TagScorer<L::InnerBackend>>,
    optimizer: OptimizerAdaptor<AdamW, TagScorer<L>, L>,
    rates: RateShares,
    objective: Objective<'a, L>,
}

/// The model's head with the constants that the fitted image encoder determines.
fn fitted_head<B: Backend>(
    model: &TagScorer<B>,
    inputs: TrainInputs<'_>,
    fitted: &FittedEncoder,
    device: &B::Device,
) -> Result<Head<B>, LearnError> {
    let own: BTreeMap<&String, usize> =
        fitted.answer_of.iter().filter(|(_, answer)| **answer > 0).map(|(tag, answer)| (tag, *answer)).collect();
    let known = own.into_iter().map(|(tag, answer)| {
        let encoded = model.embed_texts(&[inputs.tokenizer.encode(tag, None)?], device);
        Ok(KnownTag { text: values(encoded.embedding), answer })
    });
    let tags = known.collect::<Result<Vec<_>, LearnError>>()?;
    let Some(text) = &fitted.text else { return Ok(model.head.clone()) };
    Ok(model.head.clone().with_fit(&MatchFit { tags, axes: text.match_axes.clone() }, device))
}

impl<'a, L: AutodiffBackend> Learner<'a, L> {
    /// A learner with initial weights, or with those of a saved state.
    pub(super) fn new(
        inputs: TrainInputs<'a>,
        device: &L::Device,
        saved: Option<&StateDirectory>,
    ) -> Result<Self, LearnError> {
        let options = inputs.options;
        L::seed(device, options.seed);
        let mut model: TagScorer<L> = inputs.backbone.model(inputs.shape, device)?;
        if let Some(fitted) = inputs.fitted {
            let pad_id = inputs.tokenizer.rule().pad_id;
            let text = fitted.text.as_ref().map(|text| {
                let means = TokenMeans::new(&text.vectors, CONTENT, pad_id, device);
                let means = means.relative_to(&text.mean, &text.spread, device);
                // The other heads read more than the direction of a text, and would take its length for something else.
                let counts = matches!(model.head, Head::Matched(_));
                if counts { means.counting_words(&text.word_begins, device) } else { means }
            });
            model = model.with_fit(&fitted.fit, text, device);
            model.head = fitted_head(&model, inputs, fitted, device)?;
        }
        if inputs.features.is_some() {
            model.image = model.image.no_grad();
        }
        if inputs.is_head_only() || !inputs.trains_text() {
            // Without a loss on the texts burn would never free the nodes that it records for them, and would search
            // them in every step.
            model.text = model.text.no_grad();
        }
        let mut optimizer = AdamWConfig::new().with_weight_decay(options.weight_decay as f32).init();
        let mut average = None;
        if let Some(state) = saved {
            let head_only = inputs.is_head_only();
            model = state.load_model(WeightSet::Trained, model, head_only)?;
            if options.ema > 0.0 {
                average = Some(state.load_model(WeightSet::Averaged, model.valid(), head_only)?);
            }
            optimizer = optimizer.load_record(state.load_optimizer::<L, _>(device)?);
        }
        draw(&model);
        if options.ema > 0.0 && average.is_none() {
            average = Some(model.valid());
        }
        // Encode every tag now, so that one that is too long is reported at once and not in the middle of an epoch.
        inputs.train.iter().try_for_each(|e| inputs.tokenizer.encode(&e.tag, None).map(drop))?;
        let rates = rates(inputs, &model);
        model = rates.freeze(model);
        let objective = Objective::new(inputs, device);
        Ok(Self { inputs, device: device.clone(), model, average, optimizer, rates, objective })
    }

    /// Takes one step on one batch; `at` is the step's index among `all` steps.
    pub(super) fn single_step(
        &mut self,
        [at, all]: [usize; 2],
        batch: &[&Example],
        pictures: ImageBatch<Host>,
        images: &BatchImages,
    ) -> Result<(), LearnError> {
        let losses = self.objective.losses(&self.model, batch, pictures, images)?;
        let gradients = GradientsParams::from_grads(losses.all.backward(), &self.model);
        self.step([at, all], gradients);
        Ok(())
    }

    /// Trains the steps of an epoch that are not yet in `sums`. Returns the new sums and whether the epoch is finished.
    /// After each change of the weights, `go_on` gets the sums so far; if it returns `false`, the epoch stops there.
    ///
    /// Every random choice depends on the seed, the epoch and the step alone, so that a resumed epoch equals an
    /// uninterrupted one.
    pub(super) fn epoch(
        &mut self,
        epoch: usize,
        mut sums: LossSums,
        listener: &mut dyn Listener,
        mut go_on: impl FnMut(&Self, LossSums) -> Result<bool, LearnError>,
    ) -> Result<(LossSums, bool), LearnError> {
        let (options, train) = (self.inputs.options, self.inputs.train);
        let mut rng = StdRng::seed_from_u64(self.seed_of(epoch, 0));
        let batches = epoch_batches(train, options.batch, options.images_per_tag, &mut rng);
        let images: Vec<BatchImages> = batches.iter().map(|batch| BatchImages::of(train, batch)).collect();
        let mut job = |i: usize| LoadJob::of(&train[i], Crop::random(&mut rng));
        let jobs: Vec<Vec<LoadJob>> = images.iter().map(|i| i.first.iter().map(|&i| job(i)).collect()).collect();
        let done = sums.steps.min(jobs.len());
        listener.on(Message::Begin { what: format!("epoch {epoch}"), steps: (jobs.len() - done) as u64 });
        let mut accumulated = GradientsAccumulator::new();
        self.inputs.loader().batches(&jobs[done..], |index, pictures| {
            let at = done + index;
            let examples: Vec<&Example> = batches[at].iter().map(|&i| &train[i]).collect();
            let seed = self.seed_of(epoch, at + 1);
            L::seed(&self.device, seed);
            self.objective.set_seed(seed);
            let Losses { all, total, ranking, squared_error } =
                self.objective.losses(&self.model, &examples, pictures, &images[at])?;
            if !total.is_finite() {
                let images = examples.iter().map(|e| e.path.display().to_string()).collect();
                return Err(LearnError::Diverged { loss: total, epoch, step: at + 1, images });
            }
            let mean = all * (1.0 / options.accumulate as f64);
            accumulated.accumulate(&self.model, GradientsParams::from_grads(mean.backward(), &self.model));
            sums = LossSums {
                total: sums.total + total,
                ranking: sums.ranking + ranking,
                squared_error: sums.squared_error + squared_error,
                steps: at + 1,
            };
            listener.on(Message::Advance { measure: format!("loss {:.3}", sums.total / sums.steps as f64) });
            if !(at + 1).is_multiple_of(options.accumulate) && at + 1 < batches.len() {
                return Ok(ControlFlow::Continue(()));
            }
            self.step([(epoch - 1) * batches.len() + at, options.epochs * batches.len()], accumulated.grads());
            Ok(if go_on(self, sums)? { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        listener.on(Message::End);
        Ok((sums, sums.steps >= batches.len()))
    }

    /// The unit of the scores.
    pub(super) fn unit(&self) -> ScoreUnit {
        self.objective.unit()
    }

    /// The weights that are validated and exported: the moving average if there is one.
    pub(super) fn judged(&self) -> TagScorer<L::InnerBackend> {
        self.average.clone().unwrap_or_else(|| self.model.valid())
    }

    /// Saves the weights and the optimizer's state. Encoders that are not trained are not saved.
    pub(super) fn save(&self, state: &StateDirectory, progress: &TrainProgress) -> Result<(), LearnError> {
        let head_only = self.inputs.is_head_only();
        let optimizer = self.optimizer.to_record();
        Ok(state.save(progress, head_only, &self.model, self.average.as_ref(), optimizer)?)
    }

    /// The seed of a step (SplitMix64's finaliser: Steele, Lea, Flood, 2014).
    fn seed_of(&self, epoch: usize, step: usize) -> u64 {
        let mut z = self.inputs.options.seed ^ ((epoch as u64) << 40) ^ (step as u64);
        z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Takes one step along the gradients of one or more batches. `at` is the index of the last of these batches among
    /// the `all` batches of the training.
    fn step(&mut self, [at, all]: [usize; 2], gradients: GradientsParams) {
        let options = self.inputs.options;
        let gradients = clip_together(&self.model, gradients, options.max_gradient_norm);
        let rate = learning_rate(options.lr, options.warmup_share, at, all);
        for (share, gradients) in self.rates.split(&self.model, gradients) {
            self.model = self.optimizer.step(rate * share, self.model.clone(), gradients);
        }
        if let Some(before) = self.average.take() {
            self.average = Some(average(before, &self.model.valid(), options.ema, at));
        }
    }
}

/// The learning rates of the layers: pretrained encoders get lower ones, the lowest near the input. With
/// `last:N` only the last N layers of the encoders are trained.
fn rates<L: AutodiffBackend>(inputs: TrainInputs<'_>, model: &TagScorer<L>) -> RateShares {
    let mut rates = RateShares::default();
    let options = inputs.options;
    let trained = match options.train {
        Trainable::Last(layers) => layers,
        Trainable::Auto | Trainable::Head | Trainable::All => usize::MAX,
    };
    if inputs.backbone.is_trained() && inputs.features.is_none() {
        for layers in [model.image.layer_ids(), model.text.layer_ids()] {
            rates.add(&layers, options.encoder_lr, options.layer_decay, trained);
        }
    }
    rates
}
