//! Computes all figures of one bundle on chosen images, with their intervals.

use edge_model::scorer::Scorer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::choice::DataName;
use super::conditions::ConditionMeans;
use super::data_sets::{DataSetRow, data_sets};
use super::embedding::{Embedded, shuffled_tags};
use super::error::JudgeError;
use super::figures::{Bootstrap, Measured, Measures, TagRow, measure_all, tag_rows};
use crate::message::EpochRecord;
use crate::metrics::{Judged, Rules};

/// Settings of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvalSettings {
    /// Tie threshold and score scale, which the measures use.
    pub rules: Rules,
    /// Settings of the bootstrap that yields the intervals.
    pub bootstrap: Bootstrap,
    /// Whether figures per condition are computed.
    pub by_group: bool,
}

/// The judged model: its name, digest and unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelName {
    /// Name of the model in its manifest.
    pub name: String,
    /// Digest of the bundle; `None` if the bundle is not finished yet.
    pub digest: Option<String>,
    /// Description of the unit of the scores.
    pub unit: String,
}

/// Figures of a training epoch; `None` for figures that were not recorded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EpochFigures {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Mean loss over the training batches.
    pub loss: Option<f64>,
    /// Mean of the loss's ranking term over the training batches.
    pub ranking: Option<f64>,
    /// Mean of the loss's squared error term over the training batches.
    pub squared_error: Option<f64>,
    /// Spearman's correlation on the validation images.
    pub srcc: Option<f64>,
    /// Mean over the tags of Spearman's correlation within each tag, on the validation images.
    pub within_tag_srcc: Option<f64>,
    /// Whether the epoch was better than all epochs before it.
    pub best: bool,
}

impl EpochFigures {
    /// Converts the epoch records of a training.
    ///
    /// # Errors
    /// [`JudgeError::Internal`].
    pub fn of_records(records: &[EpochRecord]) -> Result<Vec<Self>, JudgeError> {
        let internal = |e: serde_json::Error| JudgeError::Internal(e.to_string());
        let values = records.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>().map_err(internal)?;
        Ok(Self::list(&values))
    }

    /// Parses the figures of epochs from the elements of a JSON array. Skips elements that cannot be parsed.
    pub fn list(values: &[Value]) -> Vec<Self> {
        values.iter().filter_map(|value| Self::deserialize(value).ok()).collect()
    }
}

/// All figures of a bundle.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Name, digest and unit of the judged model.
    pub model: ModelName,
    /// The judged data; `None` if a training judges its own test part.
    pub data: Option<DataName>,
    /// Sentences for the report that describe which images were judged.
    pub images: Vec<String>,
    /// Number of judged (image, tag) pairs.
    pub n: usize,
    /// Tie threshold and score scale, which the measures use.
    pub rules: Rules,
    /// Settings of the bootstrap that yields the intervals.
    pub bootstrap: Bootstrap,
    /// Figures with each image under its own tag.
    pub right_tags: Measures,
    /// Figures with each image under another image's tag.
    pub shuffled_tags: Measures,
    /// Figures with all images under the default tag.
    pub default_tag: Measures,
    /// Differences: figures with own tags minus figures with shuffled tags. Both use the same bootstrap replicates.
    pub right_minus_shuffled: Measures,
    /// Text of the default tag.
    pub default_tag_text: String,
    /// Share of the images whose own tag has the highest similarity of all judged tags.
    pub retrieval: f64,
    /// Expected value of `retrieval` if a tag is chosen at random.
    pub retrieval_by_chance: f64,
    /// Spearman's correlation within each tag.
    pub tags: Vec<TagRow>,
    /// Figures of each data set that the judged images come from.
    pub data_sets: Vec<DataSetRow>,
    /// Figures of the conditions; `None` if they were not requested.
    pub groups: Option<ConditionMeans>,
    /// Epochs of the training; empty if unknown.
    pub epochs: Vec<EpochFigures>,
    /// Predictions with each image under its own tag, in the order of the images.
    #[serde(skip)]
    pub judged: Vec<Judged>,
}

/// Judges embedded images. `quantiles` returns the reference quantiles of a tag, which percentiles are computed from.
///
/// # Errors
/// [`JudgeError::Scorer`], [`JudgeError::Request`] if there are no images.
pub fn evaluate<'q>(
    scorer: &Scorer,
    images: &Embedded<'_>,
    settings: &EvalSettings,
    quantiles: impl Fn(&str) -> &'q [f32],
) -> Result<Evaluation, JudgeError> {
    if images.examples.is_empty() {
        return Err(JudgeError::Request("there are no images to judge: check --data and --part".to_owned()));
    }
    let EvalSettings { rules, bootstrap, by_group } = *settings;
    let manifest = scorer.manifest();
    let default_tag = manifest.default_tags.first().map_or("a good photo", String::as_str);
    let shuffled = shuffled_tags(images.examples, bootstrap.seed);
    let right = images.judge(scorer, str::to_owned)?;
    let wrong = images.judge(scorer, |t| shuffled.get(t).map_or_else(|| t.to_owned(), Clone::clone))?;
    let neutral = images.judge(scorer, |_| default_tag.to_owned())?;
    let resampling = bootstrap.resampling(images.examples);
    let [right_tags, shuffled_tags, default_figures] =
        measure_all(&[&right, &wrong, &neutral], &rules, &resampling).try_into().map_err(wrong_number)?;
    let (retrieval, retrieval_by_chance) = images.retrieval(scorer)?;
    Ok(Evaluation {
        model: ModelName { name: manifest.name.clone(), digest: None, unit: manifest.score_scale.unit.clone() },
        data: None,
        images: Vec::new(),
        n: right.len(),
        rules,
        bootstrap,
        right_minus_shuffled: right_tags.minus(&shuffled_tags),
        right_tags: right_tags.estimates,
        shuffled_tags: shuffled_tags.estimates,
        default_tag: default_figures.estimates,
        default_tag_text: default_tag.to_owned(),
        retrieval,
        retrieval_by_chance,
        tags: tag_rows(&right, bootstrap),
        data_sets: data_sets(images.examples, &right, &wrong, &rules, bootstrap, quantiles),
        groups: by_group.then(|| ConditionMeans::of(images.examples, &right, &resampling)),
        epochs: Vec::new(),
        judged: right,
    })
}

fn wrong_number(found: Vec<Measured>) -> JudgeError {
    JudgeError::Internal(format!("{} sets of figures instead of three", found.len()))
}
