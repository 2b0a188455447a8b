//! Scores the validation images after an epoch and rates the epoch.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::error::LearnError;
use super::inputs::TrainInputs;
use super::texts::TextMemory;
use crate::batches::{BatchImages, in_order};
use crate::dataset::Example;
use crate::loader::{Crop, LoadJob};
use crate::message::{Listener, Message};
use crate::metrics::{Figures, Judged};
use crate::model::head::HeadInput;
use crate::model::{ScoreUnit, TagScorer, values};

/// Validation examples per batch.
const BATCH: usize = 8;

/// Returns the figure by which epochs are compared; higher is better. It is the mean of `srcc` and `within_tag_srcc`,
/// or the one that is defined. If neither is, it is the negative mean error.
pub(super) fn merit(figures: &Figures) -> f64 {
    let defined: Vec<f64> = [figures.srcc, figures.within_tag_srcc].into_iter().filter(|v| v.is_finite()).collect();
    if defined.is_empty() { -figures.error_mean } else { defined.iter().sum::<f64>() / defined.len() as f64 }
}

/// Scores the validation images under their own tags with the arithmetic of the scorer: 32 bits, centre crop.
pub(super) fn validate<B: Backend>(
    model: &TagScorer<B>,
    device: &B::Device,
    unit: ScoreUnit,
    inputs: TrainInputs<'_>,
    listener: &mut dyn Listener,
) -> Result<Figures, LearnError> {
    let mut texts = TextMemory::default();
    let examples = inputs.validation;
    let chunks = in_order(examples, BATCH);
    let images: Vec<BatchImages> = chunks.iter().map(|chunk| BatchImages::of(examples, chunk)).collect();
    let job = |i: &usize| LoadJob::of(&examples[*i], Crop::AsScored);
    let jobs: Vec<Vec<LoadJob>> = images.iter().map(|images| images.first.iter().map(job).collect()).collect();
    listener.on(Message::Begin { what: "validation".to_owned(), steps: chunks.len() as u64 });
    let mut judged = Vec::with_capacity(examples.len());
    inputs.loader().batches(&jobs, |index, pictures| {
        let chunk: Vec<&Example> = chunks[index].iter().map(|&i| &examples[i]).collect();
        let tags = chunk.iter().map(|e| e.tag.as_str());
        let text = texts.encode(tags, inputs.tokenizer, device, || model.clone())?;
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
        listener.on(Message::Advance { measure: String::new() });
        Ok::<_, LearnError>(ControlFlow::Continue(()))
    })?;
    listener.on(Message::End);
    Ok(Figures::of(&judged, f64::from(inputs.options.tie_threshold)))
}
