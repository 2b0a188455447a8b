//! How predictions are judged. Pure functions over numbers; the definitions are part of the report.

use std::collections::BTreeMap;

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
    /// Computes all figures.
    pub fn of(judged: &[Judged], tie_threshold: f64) -> Self {
        let truth: Vec<f64> = judged.iter().map(|j| j.truth).collect();
        let prediction: Vec<f64> = judged.iter().map(|j| j.prediction).collect();
        let errors: Vec<f64> = judged.iter().map(|j| (j.prediction - j.truth).abs()).collect();
        let error_mean = mean(&errors);
        let deviations: Vec<f64> = errors.iter().map(|e| (e - error_mean).powi(2)).collect();
        let (within_tag_srcc, tags) = within_tag_srcc(judged);
        let (pair_accuracy, pairs) = pair_accuracy(judged, tie_threshold);
        Self {
            n: judged.len(),
            error_mean,
            error_std: mean(&deviations).sqrt(),
            plcc: pearson(&truth, &prediction),
            srcc: spearman(&truth, &prediction),
            within_tag_srcc,
            tags,
            pair_accuracy,
            pairs,
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

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Pearson's correlation.
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    ab / (aa * bb).sqrt()
}

/// Spearman's correlation: Pearson's of the ranks.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    pearson(&ranks(a), &ranks(b))
}

/// Ranks from 1; equal values share the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&i| values[i] == values[order[start]]).count().max(1);
        let rank = start as f64 + (same as f64 + 1.0) / 2.0;
        order[start..start + same].iter().for_each(|&i| ranks[i] = rank);
        start += same;
    }
    ranks
}

fn by_tag(judged: &[Judged]) -> BTreeMap<&str, Vec<&Judged>> {
    let mut tags: BTreeMap<&str, Vec<&Judged>> = BTreeMap::new();
    for j in judged {
        tags.entry(&j.tag).or_default().push(j);
    }
    tags
}

/// Mean of the tags' own Spearman correlations, and the number of tags that have one: of tags with fewer than three images
/// or with constant values it is not defined.
pub fn within_tag_srcc(judged: &[Judged]) -> (f64, usize) {
    let own: Vec<f64> = by_tag(judged)
        .values()
        .filter(|rows| rows.len() >= 3)
        .map(|rows| {
            let truth: Vec<f64> = rows.iter().map(|j| j.truth).collect();
            let prediction: Vec<f64> = rows.iter().map(|j| j.prediction).collect();
            spearman(&truth, &prediction)
        })
        .filter(|r| r.is_finite())
        .collect();
    (mean(&own), own.len())
}

/// Share of the pairs of one tag whose truths differ by more than `tie_threshold` that the predictions order alike, and the
/// number of those pairs. Equal predictions count half.
pub fn pair_accuracy(judged: &[Judged], tie_threshold: f64) -> (f64, usize) {
    let (mut right, mut pairs) = (0.0, 0);
    for rows in by_tag(judged).values() {
        for (i, a) in rows.iter().enumerate() {
            for b in &rows[i + 1..] {
                let truth = a.truth - b.truth;
                if truth.abs() <= tie_threshold {
                    continue;
                }
                let agreement = truth * (a.prediction - b.prediction);
                right += if agreement > 0.0 {
                    1.0
                } else if agreement == 0.0 {
                    0.5
                } else {
                    0.0
                };
                pairs += 1;
            }
        }
    }
    (right / f64::from(pairs), pairs as usize)
}

/// `count` evenly spaced quantiles, 0 to 1 inclusive, linear between the sorted values.
pub fn quantiles(values: &[f32], count: usize) -> Vec<f32> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return vec![] };
    let at = |i: usize| {
        let position = i as f64 * last as f64 / (count - 1) as f64;
        let low = position.floor() as usize;
        let share = (position - low as f64) as f32;
        let high = (low + 1).min(last);
        sorted[low] + (sorted[high] - sorted[low]) * share
    };
    (0..count).map(at).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        tag: Vec<String>,
        truth: Vec<f64>,
        prediction: Vec<f64>,
        tie_threshold: f64,
        ranks_of_truth: Vec<f64>,
        error_mean: f64,
        error_std: f64,
        plcc: f64,
        srcc: f64,
        within_tag_srcc: f64,
        tags: usize,
        pair_accuracy: f64,
        pairs: usize,
        quantiles_5: Vec<f32>,
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} against {b}");
    }

    #[test]
    fn figures_equal_scipys() {
        let text = include_str!("../../tests/reference/metrics.json");
        for r in serde_json::from_str::<Vec<Reference>>(text).unwrap() {
            let judged: Vec<Judged> = r
                .tag
                .iter()
                .zip(r.truth.iter().zip(&r.prediction))
                .map(|(tag, (&truth, &prediction))| Judged { tag: tag.clone(), truth, prediction })
                .collect();
            let f = Figures::of(&judged, r.tie_threshold);
            assert_eq!(ranks(&r.truth), r.ranks_of_truth);
            close(f.error_mean, r.error_mean);
            close(f.error_std, r.error_std);
            close(f.plcc, r.plcc);
            close(f.srcc, r.srcc);
            close(f.within_tag_srcc, r.within_tag_srcc);
            close(f.pair_accuracy, r.pair_accuracy);
            assert_eq!((f.tags, f.pairs), (r.tags, r.pairs));
            let predictions: Vec<f32> = r.prediction.iter().map(|&p| p as f32).collect();
            for (a, b) in quantiles(&predictions, 5).iter().zip(&r.quantiles_5) {
                assert!((a - b).abs() < 1e-5, "{a} against {b}");
            }
        }
    }

    #[test]
    fn undefined_figures_are_left_out() {
        let constant = |truth| Judged { tag: "a".to_owned(), truth, prediction: 1.0 };
        let named = Figures::of(&[constant(1.0), constant(2.0), constant(3.0)], 0.1).named("test");
        assert!(!named.contains_key("test.srcc"));
        assert_eq!(named["test.pair_accuracy"], 0.5);
        assert_eq!(quantiles(&[], 5), Vec::<f32>::new());
    }
}
