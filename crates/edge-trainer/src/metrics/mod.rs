//! How predictions are judged. Pure functions over numbers; the definitions are part of the report.
//!
//! [`Measure`] names every figure, [`Sample`] is what it is taken of, [`Resampling`] says how certain it is.

mod bootstrap;
mod correlation;
mod distribution;
mod measure;
#[cfg(test)]
mod reference;
mod within;

use std::collections::BTreeMap;

pub use bootstrap::{Estimate, LEVEL, Replicate, Resampling, interval, quantile};
pub use correlation::{mean, pearson, ranks, spearman};
pub use distribution::{
    BIN_WIDTH, Bins, EPSILON, earth_movers_distance, kl_divergence, kolmogorov_to_uniform, wasserstein,
};
pub use measure::{Better, Measure, Rules};
pub use within::{pair_accuracy, tag_srccs, within_tag_srcc};

/// A prediction beside what people said.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The tag that the image was rated under.
    pub tag: String,
    /// The raters' mean score.
    pub truth: f64,
    /// The model's score.
    pub prediction: f64,
}

/// Predictions with their truths, the tags as numbers: what every measure is taken of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Each row's tag.
    pub tag: Vec<usize>,
    /// Each row's mean score by people.
    pub truth: Vec<f64>,
    /// Each row's score by the model.
    pub prediction: Vec<f64>,
}

impl Sample {
    /// The rows in their order; tags are numbered in alphabetical order.
    pub fn of(judged: &[Judged]) -> Self {
        Self {
            tag: numbered(judged.iter().map(|j| j.tag.as_str())).1,
            truth: judged.iter().map(|j| j.truth).collect(),
            prediction: judged.iter().map(|j| j.prediction).collect(),
        }
    }

    /// The rows that a replicate drew, under the tags that it gave them.
    pub fn drawn(judged: &[Judged], replicate: &Replicate) -> Self {
        Self {
            tag: replicate.tags.clone(),
            truth: replicate.rows.iter().map(|&row| judged[row].truth).collect(),
            prediction: replicate.rows.iter().map(|&row| judged[row].prediction).collect(),
        }
    }

    /// The rows of each tag.
    fn by_tag(&self) -> Vec<Vec<usize>> {
        let mut rows = vec![Vec::new(); self.tag.iter().max().map_or(0, |&last| last + 1)];
        self.tag.iter().enumerate().for_each(|(row, &tag)| rows[tag].push(row));
        rows
    }
}

/// The distinct names in alphabetical order, and each name's index among them.
pub fn numbered<'a>(names: impl Iterator<Item = &'a str> + Clone) -> (Vec<&'a str>, Vec<usize>) {
    let mut distinct: Vec<&str> = names.clone().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let index = names.map(|name| distinct.binary_search(&name).unwrap_or_default()).collect();
    (distinct, index)
}

/// The figures of a set of predictions. `NaN` where a figure is undefined, such as a correlation of constants.
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
    /// Mean of the tags' own Spearman correlations.
    pub within_tag_srcc: f64,
    /// Tags that this mean is over: those with at least three images and a defined correlation.
    pub tags: usize,
    /// Share of the pairs of one tag, further apart than the tie threshold, that are put in the right order.
    pub pair_accuracy: f64,
    /// Number of such pairs.
    pub pairs: usize,
}

impl Figures {
    /// Computes all figures that need no score scale.
    pub fn of(judged: &[Judged], tie_threshold: f64) -> Self {
        let sample = Sample::of(judged);
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

    /// The figures by name, below `prefix`; undefined ones are left out.
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

/// `count` evenly spaced quantiles, 0 to 1 inclusive, linear between the sorted values.
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

    #[test]
    fn names_are_numbered_in_alphabetical_order() {
        assert_eq!(numbered(["b", "a", "b"].into_iter()), (vec!["a", "b"], vec![1, 0, 1]));
    }
}
