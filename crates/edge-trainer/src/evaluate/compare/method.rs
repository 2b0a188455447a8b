//! Scoring methods: bundles, and methods that need no training of a network.

use std::collections::HashMap;
use std::sync::Arc;

use edge_model::scorer::{EncodedTag, ImageFeatures, Scorer, ScorerError};
use edge_model::text::TextError;
use nalgebra::DMatrix;

use super::linear::{Line, Ridge};
use crate::dataset::Example;
use crate::evaluate::{Embedded, JudgeError, distinct_tags, shuffled_tags};
use crate::metrics::{Judged, mean};

/// Candidate strengths of the ridge regression, as shares of the squared length of a column. The validation images
/// choose one.
const STRENGTHS: [f64; 9] = [1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0, 100.0];
/// Words before the tag in the prompts for a good and for a bad image.
const PROMPTS: [&str; 2] = ["a good photo of", "a bad photo of"];

/// The reference bundle's features of the training, validation and test images. The methods without a network use them.
#[derive(Debug, Clone, Copy)]
pub struct ReferenceImages<'a> {
    /// The scorer of the bundle that computed the features.
    pub scorer: &'a Scorer,
    /// Examples of the training part with their features.
    pub train: &'a Embedded<'a>,
    /// Examples of the validation part with their features.
    pub validation: &'a Embedded<'a>,
    /// Examples of the test part with their features.
    pub test: &'a Embedded<'a>,
}

/// A scoring method with its scores of the test images.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoringMethod {
    /// Name of the method in tables.
    pub name: String,
    /// Description of the method, in words.
    pub how: String,
    /// Score of each test image.
    pub predictions: Vec<f64>,
}

impl ScoringMethod {
    /// Scores every image with a bundle under the image's own tag.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn bundle(name: &str, scorer: &Scorer, test: &Embedded<'_>) -> Result<Self, JudgeError> {
        let judged = test.judge(scorer, str::to_owned)?;
        let how = format!("the bundle {:?}, digest {}", scorer.manifest().name, &scorer.digest()[..16]);
        Ok(Self { name: name.to_owned(), how, predictions: judged.iter().map(|j| j.prediction).collect() })
    }

    /// Scores every image with a bundle under another tag, as [`shuffled_tags`] assigns it.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn shuffled(name: &str, scorer: &Scorer, test: &Embedded<'_>, seed: u64) -> Result<Self, JudgeError> {
        let other = shuffled_tags(test.examples, seed);
        let judged = test.judge(scorer, |t| other.get(t).map_or_else(|| t.to_owned(), Clone::clone))?;
        Ok(Self {
            name: format!("{name}, shuffled tags"),
            how: "the same bundle, each tag replaced by another tag of the same data set".to_owned(),
            predictions: judged.iter().map(|j| j.prediction).collect(),
        })
    }

    /// Fits a ridge regression from the image embedding to the score, without text. The validation images choose its
    /// strength.
    ///
    /// # Errors
    /// [`JudgeError::Internal`] if the equations cannot be solved.
    pub fn linear_probe(images: &ReferenceImages<'_>) -> Result<Self, JudgeError> {
        let (x, y) = (matrix(images.train), scores(images.train.examples));
        let (validation, truth) = (matrix(images.validation), scores(images.validation.examples));
        let ridge = Ridge::new(&x, &y);
        let mut best: Option<(f64, f64, Vec<f64>)> = None;
        for strength in STRENGTHS {
            let Some(fit) = ridge.fit(strength) else { continue };
            let error = squared_error(&fit.predict(&validation), &truth);
            if best.as_ref().is_none_or(|(lowest, ..)| error < *lowest) {
                best = Some((error, strength, fit.predict(&matrix(images.test))));
            }
        }
        let (_, strength, predictions) =
            best.ok_or_else(|| JudgeError::Internal("no ridge regression could be solved".to_owned()))?;
        let how = format!(
            "ridge regression on the image embedding of {:?}, without text, from {} training images; strength \
             {strength}, chosen on the validation images",
            images.scorer.manifest().name,
            y.len()
        );
        Ok(Self { name: "linear probe".to_owned(), how, predictions })
    }

    /// Scores by two prompts per tag, without training: the cosine with the good prompt minus the cosine with the bad
    /// one. This follows CLIP-IQA (Wang, Chan and Loy, "Exploring CLIP for assessing the look and feel of images",
    /// 2023). CLIP-IQA scores by the softmax of both cosines, which increases with their difference. A line fitted on
    /// the validation images converts the difference to the score scale.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn zero_shot(images: &ReferenceImages<'_>) -> Result<Self, JudgeError> {
        let validation = contrasts(images.scorer, images.validation)?;
        let test = contrasts(images.scorer, images.test)?;
        let line = Line::through(&validation, &scores(images.validation.examples));
        let how = format!(
            "cosine with \"{} TAG\" minus cosine with \"{} TAG\" in the embedding space of {:?}, converted to the \
             score scale by a line fitted on the validation images",
            PROMPTS[0],
            PROMPTS[1],
            images.scorer.manifest().name
        );
        Ok(Self { name: "zero-shot prompts".to_owned(), how, predictions: test.iter().map(|&x| line.at(x)).collect() })
    }

    /// Returns each prediction with the true score of its test image.
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

/// Returns the embeddings as rows of a matrix.
fn matrix(images: &Embedded<'_>) -> DMatrix<f64> {
    let columns = images.images.first().map_or(0, |image| image.embedding.0.len());
    DMatrix::from_fn(images.images.len(), columns, |row, column| images.images[row].embedding.0[column].to_f64())
}

fn squared_error(a: &[f64], b: &[f64]) -> f64 {
    mean(&a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).collect::<Vec<_>>())
}

/// Returns for each image the cosine with its tag's good prompt minus the cosine with the bad one.
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

/// Encodes the prompt of `words` followed by `tag`. If the prompt is too long, the last words of the tag are left out.
fn encode(scorer: &Scorer, words: &str, tag: &str) -> Result<EncodedTag, JudgeError> {
    let mut tag: Vec<&str> = tag.split_whitespace().collect();
    loop {
        match scorer.encode_prompt(&format!("{words} {}", tag.join(" "))) {
            Err(ScorerError::Text(TextError::TooLong { .. })) if tag.len() > 1 => drop(tag.pop()),
            other => return Ok(other?),
        }
    }
}
