//! Ways to score that need no training of a network.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::Array2;

use super::linear::{Line, Ridge};
use crate::dataset::Example;
use crate::evaluate::{Embedded, JudgeError, distinct_tags, shuffled_tags};
use crate::metrics::{Judged, mean};
use edge_model::scorer::{EncodedTag, ImageFeatures, Scorer, ScorerError};
use edge_model::text::TextError;

/// Strengths of the ridge that the validation images choose from, as shares of the squared length of a column.
const STRENGTHS: [f64; 9] = [1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0, 100.0];
/// What a good and what a bad image is called, before the tag.
const PROMPTS: [&str; 2] = ["a good photo of", "a bad photo of"];

/// What the rows without a network stand on: one bundle's embeddings of all parts.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The bundle.
    pub scorer: &'a Scorer,
    /// The training images.
    pub train: &'a Embedded<'a>,
    /// The validation images.
    pub validation: &'a Embedded<'a>,
    /// The test images.
    pub test: &'a Embedded<'a>,
}

/// A way to score, with its score of every test image.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name in tables.
    pub name: String,
    /// Where the predictions come from, in a sentence.
    pub how: String,
    /// One per test image.
    pub predictions: Vec<f64>,
}

impl Row {
    /// A bundle, every image under its own tag.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn bundle(name: &str, scorer: &Scorer, test: &Embedded<'_>) -> Result<Self, JudgeError> {
        let judged = test.judge(scorer, str::to_owned)?;
        let how = format!("the bundle {:?}, digest {}", scorer.manifest().name, &scorer.digest()[..16]);
        Ok(Self { name: name.to_owned(), how, predictions: judged.iter().map(|j| j.prediction).collect() })
    }

    /// A bundle, every image under another image's tag.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn shuffled(name: &str, scorer: &Scorer, test: &Embedded<'_>, seed: u64) -> Result<Self, JudgeError> {
        let other = shuffled_tags(test.examples, seed);
        let judged = test.judge(scorer, |t| other.get(t).map_or_else(|| t.to_owned(), Clone::clone))?;
        Ok(Self {
            name: format!("{name}, shuffled tags"),
            how: "the same bundle, each tag replaced by another one of the test's tags".to_owned(),
            predictions: judged.iter().map(|j| j.prediction).collect(),
        })
    }

    /// Ridge regression from the image embedding to the score, without text; the validation images choose its strength.
    ///
    /// # Errors
    /// [`JudgeError::Internal`] where the equations cannot be solved.
    pub fn linear_probe(ground: &Ground<'_>) -> Result<Self, JudgeError> {
        let (x, y) = (matrix(ground.train), scores(ground.train.examples));
        let (validation, truth) = (matrix(ground.validation), scores(ground.validation.examples));
        let ridge = Ridge::new(&x, &y);
        let mut best: Option<(f64, f64, Vec<f64>)> = None;
        for strength in STRENGTHS {
            let Some(fit) = ridge.fit(strength) else { continue };
            let error = squared_error(&fit.predict(&validation), &truth);
            if best.as_ref().is_none_or(|(lowest, ..)| error < *lowest) {
                best = Some((error, strength, fit.predict(&matrix(ground.test))));
            }
        }
        let (_, strength, predictions) =
            best.ok_or_else(|| JudgeError::Internal("no ridge regression could be solved".to_owned()))?;
        let how = format!(
            "ridge regression on the image embedding of {:?}, without text, from {} training images; strength \
             {strength}, chosen on the validation images",
            ground.scorer.manifest().name,
            y.len()
        );
        Ok(Self { name: "linear probe".to_owned(), how, predictions })
    }

    /// Two prompts per tag and no training: the cosine with the good one minus that with the bad one, after CLIP-IQA
    /// (Wang, Chan and Loy, "Exploring CLIP for assessing the look and feel of images", 2023), whose softmax of both
    /// rises with that difference. A straight line fitted on the validation images leads to the score scale.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn zero_shot(ground: &Ground<'_>) -> Result<Self, JudgeError> {
        let validation = contrasts(ground.scorer, ground.validation)?;
        let test = contrasts(ground.scorer, ground.test)?;
        let line = Line::through(&validation, &scores(ground.validation.examples));
        let how = format!(
            "cosine with \"{} TAG\" minus cosine with \"{} TAG\" in the embedding space of {:?}, on the scale by a \
             line fitted on the validation images",
            PROMPTS[0],
            PROMPTS[1],
            ground.scorer.manifest().name
        );
        Ok(Self { name: "zero-shot prompts".to_owned(), how, predictions: test.iter().map(|&x| line.at(x)).collect() })
    }

    /// The predictions beside the truth.
    pub(super) fn judged(&self, test: &[Example]) -> Result<Vec<Judged>, JudgeError> {
        if self.predictions.len() != test.len() {
            let (found, wanted) = (self.predictions.len(), test.len());
            return Err(JudgeError::Internal(format!("{} has {found} predictions for {wanted} images", self.name)));
        }
        let rows = test.iter().zip(&self.predictions);
        Ok(rows.map(|(e, &prediction)| Judged { tag: e.tag.clone(), truth: f64::from(e.score), prediction }).collect())
    }
}

fn scores(examples: &[Example]) -> Vec<f64> {
    examples.iter().map(|e| f64::from(e.score)).collect()
}

/// The embeddings, one a row.
fn matrix(images: &Embedded<'_>) -> Array2<f64> {
    let columns = images.images.first().map_or(0, |image| image.embedding.0.len());
    let mut matrix = Array2::zeros((images.images.len(), columns));
    for (mut row, image) in matrix.outer_iter_mut().zip(&images.images) {
        row.iter_mut().zip(&image.embedding.0).for_each(|(to, from)| *to = from.to_f64());
    }
    matrix
}

fn squared_error(a: &[f64], b: &[f64]) -> f64 {
    mean(&a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).collect::<Vec<_>>())
}

/// Each image's cosine with its tag's good prompt minus that with the bad one.
fn contrasts(scorer: &Scorer, images: &Embedded<'_>) -> Result<Vec<f64>, JudgeError> {
    let mut prompts: HashMap<String, [EncodedTag; 2]> = HashMap::new();
    for tag in distinct_tags(images.examples) {
        let [good, bad] = PROMPTS.map(|words| encode(scorer, words, &tag));
        prompts.insert(tag, [good?, bad?]);
    }
    let contrast = |(example, image): (&Example, &Arc<ImageFeatures>)| {
        let [good, bad] = &prompts[&example.tag];
        f64::from(image.embedding.similarity(good)) - f64::from(image.embedding.similarity(bad))
    };
    Ok(images.examples.iter().zip(&images.images).map(contrast).collect())
}

/// The prompt; of a tag that leaves no room for the words before it, the last words are left out.
fn encode(scorer: &Scorer, words: &str, tag: &str) -> Result<EncodedTag, JudgeError> {
    let mut tag: Vec<&str> = tag.split_whitespace().collect();
    loop {
        match scorer.encode_prompt(&format!("{words} {}", tag.join(" "))) {
            Err(ScorerError::Text(TextError::TooLong { .. })) if tag.len() > 1 => drop(tag.pop()),
            other => return Ok(other?),
        }
    }
}
