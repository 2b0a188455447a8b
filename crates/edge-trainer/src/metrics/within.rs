//! Figures of the images of one tag among themselves: the best *of their kind*.

use super::Sample;
use super::correlation::{mean, spearman};

/// Tags with fewer images have no correlation worth a mean.
const LEAST_IMAGES: usize = 3;

/// Each tag's own Spearman correlation, by the tag's number; `NaN` of tags with fewer than three images or with
/// constants.
pub fn tag_srccs(sample: &Sample) -> Vec<f64> {
    let own = |rows: &Vec<usize>| {
        if rows.len() < LEAST_IMAGES {
            return f64::NAN;
        }
        let pick = |values: &[f64]| rows.iter().map(|&row| values[row]).collect::<Vec<_>>();
        spearman(&pick(&sample.truth), &pick(&sample.prediction))
    };
    sample.by_tag().iter().map(own).collect()
}

/// The macro average: the mean of the tags' own Spearman correlations, of those that are defined.
pub fn within_tag_srcc(sample: &Sample) -> f64 {
    let defined: Vec<f64> = tag_srccs(sample).into_iter().filter(|r| r.is_finite()).collect();
    mean(&defined)
}

/// Share of the pairs of one tag whose truths differ by more than `tie_threshold` that the predictions order alike, and
/// the number of those pairs. Equal predictions count half.
pub fn pair_accuracy(sample: &Sample, tie_threshold: f64) -> (f64, usize) {
    let (mut right, mut pairs) = (0.0, 0);
    for rows in sample.by_tag() {
        for (i, &a) in rows.iter().enumerate() {
            for &b in &rows[i + 1..] {
                let truth = sample.truth[a] - sample.truth[b];
                if truth.abs() <= tie_threshold {
                    continue;
                }
                let agreement = truth * (sample.prediction[a] - sample.prediction[b]);
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
    (right / pairs as f64, pairs)
}
