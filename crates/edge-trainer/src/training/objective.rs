//! The training objective: the losses of a batch and their sum.

use std::collections::HashMap;

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor};
use edge_model::bundle::manifest::HeadKind;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::error::LearnError;
use super::inputs::TrainInputs;
use super::strange::strange_texts;
use super::texts::TextMemory;
use super::units::spread;
use crate::batches::BatchImages;
use crate::dataset::Example;
use crate::device::Host;
use crate::loss;
use crate::model::head::HeadInput;
use crate::model::{ImageBatch, ScoreUnit, TagScorer, TextOutput, in_bf16, values};
use crate::pairs::{Rated, fits, ranked_pairs};

/// Weight of the cross-entropy loss that teaches the weighted-sum head which answer belongs to a tag.
const CHOICE_WEIGHT: f64 = 1.0;
/// Softmax temperature of the contrastive loss between tags.
const TEMPERATURE: f32 = 0.1;

/// The losses of a batch.
pub(super) struct Losses<L: AutodiffBackend> {
    /// The loss that is minimised.
    pub(super) all: Tensor<L, 1>,
    /// Value of `all`.
    pub(super) total: f64,
    pub(super) ranking: f64,
    pub(super) squared_error: f64,
}

/// The training objective of a data set.
pub(super) struct Objective<'a, L: AutodiffBackend> {
    inputs: TrainInputs<'a>,
    device: L::Device,
    unit: ScoreUnit,
    /// Mean and deviation of the alignments, if the data have any.
    alignment: Option<(f32, f32)>,
    rng: StdRng,
    /// The encoded texts of a text encoder that is not trained.
    texts: TextMemory<L::InnerBackend>,
}

impl<'a, L: AutodiffBackend> Objective<'a, L> {
    /// The objective for the examples of `inputs`.
    pub(super) fn new(inputs: TrainInputs<'a>, device: &L::Device) -> Self {
        let (mean, deviation) = spread(inputs.train.iter().map(|e| e.score));
        let alignments: Vec<f32> = inputs.train.iter().filter_map(|e| e.alignment).collect();
        Self {
            inputs,
            device: device.clone(),
            unit: ScoreUnit { mean, deviation },
            alignment: (!alignments.is_empty()).then(|| spread(alignments.into_iter())),
            rng: StdRng::seed_from_u64(inputs.options.seed),
            texts: TextMemory::default(),
        }
    }

    /// The unit of the scores.
    pub(super) fn unit(&self) -> ScoreUnit {
        self.unit
    }

    /// Sets the seed of the random choices of the next batch.
    pub(super) fn set_seed(&mut self, seed: u64) {
        self.rng = StdRng::seed_from_u64(seed);
    }

    /// Computes the losses of a batch.
    ///
    /// # Errors
    /// [`LearnError::Text`].
    pub(super) fn losses(
        &mut self,
        model: &TagScorer<L>,
        batch: &[&Example],
        pictures: ImageBatch<Host>,
        images: &BatchImages,
    ) -> Result<Losses<L>, LearnError> {
        let options = self.inputs.options;
        let device = self.device.clone();
        let (texts, text_of) = self.texts_of(batch);
        let pictures = pictures.carry::<L::InnerBackend>(&device);
        let bf16 = self.inputs.bf16();
        let mut image = in_bf16(bf16, || model.image.forward(pictures.lift()));
        if let Some(rows) = images.rows() {
            image = image.select(Tensor::from_data(rows.as_slice(), &device));
        }
        let distinct = in_bf16(bf16, || self.encode(model, &texts))?;
        let choice = self.choice_loss(model, batch, &texts, (&text_of, distinct.embedding.clone()));
        let text_of = Tensor::<L, 1, Int>::from_data(text_of.as_slice(), &device);
        let text = distinct.select(text_of.clone());
        let (image_embedding, text_embedding) = (image.embedding.clone(), text.embedding.clone());
        let input =
            HeadInput { image: image.embedding, patches: image.patches, text: text.embedding, tokens: text.tokens };
        let scores = in_bf16(bf16, || model.head.forward(input, self.unit));

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
        // The losses below change only the encoders.
        if !self.inputs.is_head_only() && self.inputs.trains_text() {
            if let Some(alignment) = self.alignment_loss(model, batch, [image_embedding.clone(), text_embedding]) {
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

    /// The distinct texts of a batch, and each example's index among them. Some tags are replaced by the default tag or
    /// lose words; all images of a tag get the same text.
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

    /// Encodes texts. An encoder that is not trained encodes each text once per training.
    fn encode(&mut self, model: &TagScorer<L>, texts: &[String]) -> Result<TextOutput<L>, LearnError> {
        let ids = |text: &String| self.inputs.tokenizer.encode(text, None);
        if !self.inputs.is_head_only() {
            return Ok(model.embed_texts(&texts.iter().map(ids).collect::<Result<Vec<_>, _>>()?, &self.device));
        }
        let texts = texts.iter().map(String::as_str);
        Ok(self.texts.encode(texts, self.inputs.tokenizer, &self.device, || model.valid())?.lift())
    }

    /// Returns the cross-entropy of the answers that the head chooses for the distinct texts of a batch and for some
    /// texts without meaning. The right answer for a tag is the tag's own. For the default tag and for texts without
    /// meaning it is the first answer. Returns `None` if the head chooses no answers or the right ones are unknown.
    /// Without this loss the head would choose the answer that fits the few images of a prompt best, and any answer for
    /// an unknown tag.
    fn choice_loss(
        &mut self,
        model: &TagScorer<L>,
        batch: &[&Example],
        texts: &[String],
        (text_of, embedding): (&[i64], Tensor<L, 2>),
    ) -> Option<Tensor<L, 1>> {
        let inputs = self.inputs;
        // Other heads would ignore the texts, and burn would never free the nodes that it records for them.
        let answer_of =
            inputs.fitted.map(|fitted| &fitted.answer_of).filter(|_| inputs.shape.head == HeadKind::WeightedSum)?;
        let device = embedding.device();
        let strange = strange_texts(inputs, &mut self.rng);
        let embedding = if strange.is_empty() {
            embedding
        } else {
            Tensor::cat(vec![embedding, model.embed_texts(&strange, &device).embedding], 0)
        };
        let logits = model.head.choice(embedding)?;
        let mut right = vec![0i64; texts.len() + strange.len()];
        for (example, &text) in batch.iter().zip(text_of) {
            let text = text as usize;
            if texts[text] != self.inputs.default_tag {
                right[text] = answer_of.get(&example.tag).map_or(0, |&answer| answer as i64);
            }
        }
        Some(loss::choice(logits, Tensor::from_data(right.as_slice(), &device)))
    }

    /// Returns how well each image fits its tag, by [`fits`]. The similarity comes from the embeddings of this batch.
    fn fits(&self, batch: &[&Example], image: &Tensor<L, 2>, text: &Tensor<L, 2>) -> Vec<Option<f32>> {
        let similarity = || values(loss::cosine(image.clone().inner(), text.clone().inner()));
        let similarity = self.inputs.backbone.knows_similarity().then_some(similarity);
        fits(batch.iter().map(|e| e.alignment).collect(), similarity)
    }

    /// The text for a tag in this step: the tag, the default tag, or the tag without some words.
    fn vary(&mut self, tag: &str) -> String {
        let options = self.inputs.options;
        if self.rng.random::<f64>() < options.tag_dropout {
            return self.inputs.default_tag.to_owned();
        }
        if options.word_dropout == 0.0 {
            return tag.to_owned();
        }
        let mut kept: Vec<&str> = tag.split_whitespace().collect();
        kept.retain(|_| self.rng.random::<f64>() >= options.word_dropout);
        if kept.is_empty() { tag.to_owned() } else { kept.join(" ") }
    }

    /// Returns the mean squared error of the alignments that are predicted from the similarity, over the examples with
    /// a known alignment. `None` if there are no such examples or if this loss has no weight.
    fn alignment_loss(
        &self,
        model: &TagScorer<L>,
        batch: &[&Example],
        [image, text]: [Tensor<L, 2>; 2],
    ) -> Option<Tensor<L, 1>> {
        let (mean, deviation) = self.alignment?;
        let known: Vec<(i64, f32)> =
            (0i64..).zip(batch).filter_map(|(i, e)| e.alignment.map(|a| (i, (a - mean) / deviation))).collect();
        if known.is_empty() || self.inputs.options.alignment_weight == 0.0 {
            return None;
        }
        let device = image.device();
        let (rows, truth): (Vec<i64>, Vec<f32>) = known.into_iter().unzip();
        let rows = Tensor::<L, 1, Int>::from_data(rows.as_slice(), &device);
        let similarity = loss::cosine(image.select(0, rows.clone()), text.select(0, rows));
        let expected = model.alignment.forward(similarity);
        Some(loss::squared_error(expected, Tensor::from_data(truth.as_slice(), &device)))
    }
}

fn scalar<L: AutodiffBackend>(x: &Tensor<L, 1>) -> f64 {
    x.clone().into_data().iter::<f64>().next().unwrap_or(f64::NAN)
}
