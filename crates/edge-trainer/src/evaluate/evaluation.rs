//! The figures of one bundle on chosen images, each with its interval.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::choice::DataName;
use super::data_sets::{DataSetRow, data_sets};
use super::groups::Groups;
use super::{Embedded, JudgeError, shuffled_tags};
use crate::dataset::Example;
use crate::message::EpochRecord;
use crate::metrics::{
    Estimate, Judged, LEVEL, Measure, Replicate, Resampling, Rules, Sample, numbered, spearman, tag_srccs,
};
use edge_model::scorer::Scorer;

/// Figures by [`Measure::key`].
pub type Measures = BTreeMap<&'static str, Estimate>;

/// How to judge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// What the measures need to know.
    pub rules: Rules,
    /// The bootstrap.
    pub bootstrap: Bootstrap,
    /// Whether the images' conditions are told apart.
    pub by_group: bool,
}

/// The bootstrap's settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bootstrap {
    /// Number of replicates.
    pub replicates: usize,
    /// Seed of the replicates and of the shuffled tags.
    pub seed: u64,
    /// Coverage of the intervals.
    pub level: f64,
}

impl Bootstrap {
    /// With the usual coverage.
    pub fn new(replicates: usize, seed: u64) -> Self {
        Self { replicates, seed, level: LEVEL }
    }
}

/// Which model was judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelName {
    /// Its name.
    pub name: String,
    /// Its digest; none where the bundle is not finished yet.
    pub digest: Option<String>,
    /// The unit of its scores.
    pub unit: String,
}

/// A tag's own figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TagRow {
    /// The tag.
    pub tag: String,
    /// Number of its images.
    pub n: usize,
    /// Spearman's correlation of its images; its interval draws images of the tag.
    pub srcc: Estimate,
}

/// An epoch of the training, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean loss over the training batches.
    pub loss: Option<f64>,
    /// The ranking part of it.
    pub ranking: Option<f64>,
    /// The squared error.
    pub squared_error: Option<f64>,
    /// Spearman correlation on the validation images.
    pub srcc: Option<f64>,
    /// Its mean within tags.
    pub within_tag_srcc: Option<f64>,
    /// Whether it was the best epoch so far.
    pub best: bool,
}

impl Epoch {
    /// Of a training that has just ended.
    ///
    /// # Errors
    /// [`JudgeError::Internal`].
    pub fn of_records(records: &[EpochRecord]) -> Result<Vec<Self>, JudgeError> {
        let internal = |e: serde_json::Error| JudgeError::Internal(e.to_string());
        let values = records.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>().map_err(internal)?;
        Ok(Self::list(&values))
    }

    /// The epochs of a JSON array, of those elements that can be read.
    pub fn list(values: &[Value]) -> Vec<Self> {
        values.iter().filter_map(|value| Self::deserialize(value).ok()).collect()
    }
}

/// Everything found about a bundle.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// The model.
    pub model: ModelName,
    /// The data; none where a training judges its own.
    pub data: Option<DataName>,
    /// Which images were judged, in sentences.
    pub images: Vec<String>,
    /// Number of judged (image, tag) pairs.
    pub n: usize,
    /// What the measures were told.
    pub rules: Rules,
    /// The bootstrap.
    pub bootstrap: Bootstrap,
    /// Under their own tags.
    pub right_tags: Measures,
    /// Each under another image's tag.
    pub shuffled_tags: Measures,
    /// All under the default tag.
    pub default_tag: Measures,
    /// Right tags minus shuffled tags, on the same replicates.
    pub right_minus_shuffled: Measures,
    /// Text of the default tag.
    pub default_tag_text: String,
    /// Share of the images whose own tag is the most similar of all judged tags.
    pub retrieval: f64,
    /// The share that chance gives.
    pub retrieval_by_chance: f64,
    /// Every tag's own figure.
    pub tags: Vec<TagRow>,
    /// Each data set's own figures.
    pub data_sets: Vec<DataSetRow>,
    /// Figures of the conditions, where they were asked for.
    pub groups: Option<Groups>,
    /// The course of the training, where it is known.
    pub epochs: Vec<Epoch>,
    /// Every prediction under its own tag, in the order of the images.
    #[serde(skip)]
    pub judged: Vec<Judged>,
}

/// Judges embedded images; `quantiles` are those that percentiles of a tag are read off.
///
/// # Errors
/// [`JudgeError::Scorer`], [`JudgeError::Request`] where there are no images.
pub fn evaluate<'q>(
    scorer: &Scorer,
    images: &Embedded<'_>,
    settings: &Settings,
    quantiles: impl Fn(&str) -> &'q [f32],
) -> Result<Evaluation, JudgeError> {
    if images.examples.is_empty() {
        return Err(JudgeError::Request("there are no images to judge: check --data and --part".to_owned()));
    }
    let Settings { rules, bootstrap, by_group } = *settings;
    let manifest = scorer.manifest();
    let default_tag = manifest.default_tags.first().map_or("a good photo", String::as_str);
    let shuffled = shuffled_tags(images.examples, bootstrap.seed);
    let right = images.judge(scorer, str::to_owned)?;
    let wrong = images.judge(scorer, |t| shuffled.get(t).map_or_else(|| t.to_owned(), Clone::clone))?;
    let neutral = images.judge(scorer, |_| default_tag.to_owned())?;
    let resampling = resampling(images.examples, bootstrap);
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
        right_minus_shuffled: differences(&right_tags, &shuffled_tags),
        right_tags: right_tags.estimates,
        shuffled_tags: shuffled_tags.estimates,
        default_tag: default_figures.estimates,
        default_tag_text: default_tag.to_owned(),
        retrieval,
        retrieval_by_chance,
        tags: tag_rows(&right, bootstrap),
        data_sets: data_sets(images.examples, (&right, &wrong), (&rules, bootstrap), quantiles),
        groups: by_group.then(|| Groups::of(images.examples, &right, &resampling)),
        epochs: Vec::new(),
        judged: right,
    })
}

fn wrong_number(found: Vec<Measured>) -> JudgeError {
    JudgeError::Internal(format!("{} sets of figures instead of three", found.len()))
}

/// The bootstrap of the examples' groups.
pub fn resampling(examples: &[Example], bootstrap: Bootstrap) -> Resampling {
    let groups: Vec<&str> = examples.iter().map(|e| e.group.as_str()).collect();
    let tags: Vec<&str> = examples.iter().map(|e| e.tag.as_str()).collect();
    Resampling::new(&groups, &tags, bootstrap.replicates, bootstrap.seed)
}

/// The figures of one set of predictions, with the replicates that their intervals come from.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The figures.
    pub estimates: Measures,
    /// Each figure's replicates.
    replicates: BTreeMap<&'static str, Vec<f64>>,
}

/// Takes all figures of several sets of predictions for the same images, on the same replicates.
pub fn measure_all(sets: &[&[Judged]], rules: &Rules, resampling: &Resampling) -> Vec<Measured> {
    let figures = |replicate: &Replicate| -> Vec<f64> {
        let samples = sets.iter().map(|judged| Sample::drawn(judged, replicate));
        samples.flat_map(|sample| Measure::ALL.map(|measure| measure.of(&sample, rules))).collect()
    };
    let mut drawn = resampling.distributions(figures).into_iter();
    let measured = |judged: &&[Judged]| {
        let sample = Sample::of(judged);
        let mut measured = Measured::default();
        for measure in Measure::ALL {
            let replicates = drawn.next().unwrap_or_default();
            let estimate = Estimate::new(measure.of(&sample, rules), &replicates);
            measured.estimates.insert(measure.key(), estimate);
            measured.replicates.insert(measure.key(), replicates);
        }
        measured
    };
    sets.iter().map(measured).collect()
}

/// `one - other` of every figure: the paired bootstrap.
pub fn differences(one: &Measured, other: &Measured) -> Measures {
    let difference = |measure: Measure| {
        let key = measure.key();
        let pairs = one.replicates[key].iter().zip(&other.replicates[key]);
        let replicates: Vec<f64> = pairs.map(|(a, b)| a - b).collect();
        (key, Estimate::new(one.estimates[key].value - other.estimates[key].value, &replicates))
    };
    Measure::ALL.into_iter().map(difference).collect()
}

/// Each tag's own correlation; its interval draws the tag's images.
pub(super) fn tag_rows(judged: &[Judged], bootstrap: Bootstrap) -> Vec<TagRow> {
    let (names, tag) = numbered(judged.iter().map(|j| j.tag.as_str()));
    let sample = Sample::of(judged);
    let own = tag_srccs(&sample);
    let row = |number: usize| {
        let rows: Vec<usize> = (0..judged.len()).filter(|&i| tag[i] == number).collect();
        let resampling = Resampling::of_rows(rows.len(), bootstrap.replicates, bootstrap.seed);
        let srcc = |replicate: &Replicate| {
            let pick = |values: &[f64]| replicate.rows.iter().map(|&i| values[rows[i]]).collect::<Vec<_>>();
            vec![spearman(&pick(&sample.truth), &pick(&sample.prediction))]
        };
        let replicates = if own[number].is_finite() { resampling.distributions(srcc) } else { Vec::new() };
        let replicates = replicates.first().map_or(&[][..], Vec::as_slice);
        TagRow { tag: names[number].to_owned(), n: rows.len(), srcc: Estimate::new(own[number], replicates) }
    };
    (0..names.len()).map(row).collect()
}
