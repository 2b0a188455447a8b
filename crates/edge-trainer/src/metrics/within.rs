//! Measures within tags: they compare the images of one tag with each other.

use super::correlation::{mean, spearman};
use super::sample::ScoreSample;

/// Smallest number of images of a tag for which a correlation is computed. Smaller tags would only add noise to the
/// mean.
const LEAST_IMAGES: usize = 3;

/// Returns Spearman's correlation within each tag, by the tag's number; `NaN` for tags with fewer than three images,
/// constant truths or constant predictions.
pub fn tag_srccs(sample: &ScoreSample) -> Vec<f64> {
    let own = |rows: &Vec<usize>| {
        if rows.len() < LEAST_IMAGES {
            return f64::NAN;
        }
        let pick = |values: &[f64]| rows.iter().map(|&row| values[row]).collect::<Vec<_>>();
        spearman(&pick(&sample.truth), &pick(&sample.prediction))
    };
    sample.by_tag().iter().map(own).collect()
}

/// Returns the macro average: the mean of the defined correlations of [`tag_srccs`].
pub fn within_tag_srcc(sample: &ScoreSample) -> f64 {
    let defined: Vec<f64> = tag_srccs(sample).into_iter().filter(|r| r.is_finite()).collect();
    mean(&defined)
}

/// Returns the share of pairs that the predictions put in the right order, and the number of pairs. Counts the pairs of
/// images of one tag whose truths differ by more than `tie_threshold`. Equal predictions count half.
pub fn pair_accuracy(sample: &ScoreSample, tie_threshold: f64) -> (f64, usize) {
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
