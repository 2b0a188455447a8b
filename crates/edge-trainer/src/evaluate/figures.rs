//! Computes the figures of predictions, each figure with its bootstrap interval.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dataset::Example;
use crate::metrics::{
    Estimate, Judged, LEVEL, Measure, Replicate, Resampling, Rules, ScoreSample, numbered, spearman, tag_srccs,
};

/// Figures with their intervals, by [`Measure::key`].
pub type Measures = BTreeMap<&'static str, Estimate>;

/// Settings of the bootstrap that yields confidence intervals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bootstrap {
    /// Number of replicates that are drawn.
    pub replicates: usize,
    /// Seed of the replicates and of the shuffled tags.
    pub seed: u64,
    /// Coverage of the confidence intervals, 0 to 1.
    pub level: f64,
}

impl Bootstrap {
    /// Creates settings with a coverage of [`LEVEL`].
    pub fn new(replicates: usize, seed: u64) -> Self {
        Self { replicates, seed, level: LEVEL }
    }

    /// Returns the resampling of these examples. A replicate draws whole split units.
    pub fn resampling(self, examples: &[Example]) -> Resampling {
        let groups: Vec<&str> = examples.iter().map(|e| e.group.as_str()).collect();
        let tags: Vec<&str> = examples.iter().map(|e| e.tag.as_str()).collect();
        Resampling::new(&groups, &tags, self.replicates, self.seed)
    }
}

/// Spearman's correlation within one tag or condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TagRow {
    /// Name of the tag or condition.
    pub tag: String,
    /// Number of judged images of the tag or condition.
    pub n: usize,
    /// Spearman's correlation over the images of the tag or condition. The bootstrap draws these images one by one.
    pub srcc: Estimate,
}

/// Figures of one set of predictions, with their values over the bootstrap replicates.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The figures with their intervals.
    pub estimates: Measures,
    /// Values of each figure over the replicates.
    replicates: BTreeMap<&'static str, Vec<f64>>,
}

/// Computes all figures of several sets of predictions for the same images. All sets use the same replicates.
pub fn measure_all(sets: &[&[Judged]], rules: &Rules, resampling: &Resampling) -> Vec<Measured> {
    let figures = |replicate: &Replicate| -> Vec<f64> {
        let samples = sets.iter().map(|judged| ScoreSample::drawn(judged, replicate));
        samples.flat_map(|sample| Measure::ALL.map(|measure| measure.of(&sample, rules))).collect()
    };
    let mut drawn = resampling.distributions(figures).into_iter();
    let measured = |judged: &&[Judged]| {
        let sample = ScoreSample::of(judged);
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

impl Measured {
    /// Returns `self - other` for every figure, with intervals of the differences on the same replicates (paired
    /// bootstrap).
    pub fn minus(&self, other: &Self) -> Measures {
        let difference = |measure: Measure| {
            let key = measure.key();
            let pairs = self.replicates[key].iter().zip(&other.replicates[key]);
            let replicates: Vec<f64> = pairs.map(|(a, b)| a - b).collect();
            (key, Estimate::new(self.estimates[key].value - other.estimates[key].value, &replicates))
        };
        Measure::ALL.into_iter().map(difference).collect()
    }
}

/// Computes Spearman's correlation within each tag. The bootstrap draws the images of a tag one by one.
pub fn tag_rows(judged: &[Judged], bootstrap: Bootstrap) -> Vec<TagRow> {
    let (names, tag) = numbered(judged.iter().map(|j| j.tag.as_str()));
    let sample = ScoreSample::of(judged);
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
