//! The figures that the manifest of a bundle holds.

use std::collections::BTreeMap;

use super::bootstrap::quantile;
use super::measure::{Measure, Rules};
use super::sample::{Judged, ScoreSample};
use super::within::{pair_accuracy, tag_srccs};

/// Figures of a set of predictions. `NaN` if a figure is undefined, such as a correlation of constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Number of predictions.
    pub n: usize,
    /// Mean of |prediction - truth|.
    pub error_mean: f64,
    /// Population standard deviation of |prediction - truth|.
    pub error_std: f64,
    /// Pearson's linear correlation.
    pub plcc: f64,
    /// Spearman's rank correlation, average ranks for ties.
    pub srcc: f64,
    /// Mean over the tags of Spearman's correlation within each tag.
    pub within_tag_srcc: f64,
    /// Number of tags in the mean `within_tag_srcc`: those with at least three images and a defined correlation.
    pub tags: usize,
    /// Share of pairs of images that the predictions put in the right order. Counts the pairs of one tag whose truths
    /// differ by more than the tie threshold.
    pub pair_accuracy: f64,
    /// Number of pairs that `pair_accuracy` counts.
    pub pairs: usize,
}

impl Figures {
    /// Computes the figures. They do not depend on the score scale.
    pub fn of(judged: &[Judged], tie_threshold: f64) -> Self {
        let sample = ScoreSample::of(judged);
        let rules = Rules { tie_threshold, low: 0.0, high: 1.0 };
        let value = |measure: Measure| measure.of(&sample, &rules);
        Self {
            n: judged.len(),
            error_mean: value(Measure::ErrorMean),
            error_std: value(Measure::ErrorStd),
            plcc: value(Measure::Lcc),
            srcc: value(Measure::Srcc),
            within_tag_srcc: value(Measure::WithinTagSrcc),
            tags: tag_srccs(&sample).iter().filter(|r| r.is_finite()).count(),
            pair_accuracy: value(Measure::PairAccuracy),
            pairs: pair_accuracy(&sample, tie_threshold).1,
        }
    }

    /// Returns the defined figures by name, each with `prefix` and a dot in front.
    pub fn named(&self, prefix: &str) -> BTreeMap<String, f64> {
        let all = [
            ("error_mean", self.error_mean),
            ("error_std", self.error_std),
            ("plcc", self.plcc),
            ("srcc", self.srcc),
            ("within_tag_srcc", self.within_tag_srcc),
            ("pair_accuracy", self.pair_accuracy),
        ];
        all.into_iter().filter(|(_, v)| v.is_finite()).map(|(k, v)| (format!("{prefix}.{k}"), v)).collect()
    }
}

/// Returns the quantiles at `count` evenly spaced levels from 0 to 1, with linear interpolation; empty without values.
pub fn quantiles(values: &[f32], count: usize) -> Vec<f32> {
    let mut sorted: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return vec![];
    }
    (0..count).map(|i| quantile(&sorted, i as f64 / (count - 1) as f64) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_figures_are_left_out() {
        let constant = |truth| Judged { tag: "a".to_owned(), truth, prediction: 1.0 };
        let named = Figures::of(&[constant(1.0), constant(2.0), constant(3.0)], 0.1).named("test");
        assert!(!named.contains_key("test.srcc"));
        assert_eq!(named["test.pair_accuracy"], 0.5);
        assert_eq!(quantiles(&[], 5), Vec::<f32>::new());
    }
}
