//! Confidence intervals by a seeded percentile bootstrap.
//!
//! A replicate draws groups with replacement, because images of one group are not independent. A group is a split unit:
//! the images of one tag, unless the data name groups. Each drawn group contributes all of its images. This follows the
//! variance of clustered data better than drawing groups and then images within them (Davison and Hinkley, "Bootstrap
//! methods and their application", 1997, section 3.8). It also avoids repeated images within a small tag, which would
//! raise its rank correlation. A tag whose images all lie in one group counts as a separate tag each time the group is
//! drawn. If there is only one group, its images are drawn one by one.
//!
//! The interval lies between the 2.5 % and 97.5 % quantiles of the figure over the replicates (Efron and Tibshirani,
//! "An introduction to the bootstrap", 1993, chapter 13). Two predictions are compared on the same replicates, so that
//! the difficulty of the drawn images cancels out.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use serde::Serialize;

use super::names::numbered;

/// Coverage of the confidence intervals: 95 %.
pub const LEVEL: f64 = 0.95;

/// A figure with its confidence interval. Undefined values are `NaN` (null in JSON).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure on all images.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// Returns the figure with its interval. `replicates` holds the figure's values over the bootstrap replicates.
    pub fn new(value: f64, replicates: &[f64]) -> Self {
        let (low, high) = interval(replicates);
        Self { value, low, high }
    }
}

/// One bootstrap replicate: drawn rows, possibly repeated, with their tags.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replicate {
    /// Indices of the drawn examples.
    pub rows: Vec<usize>,
    /// For each row, the number that identifies its tag in this replicate.
    pub tags: Vec<usize>,
}

/// Draws bootstrap replicates of a set of examples.
#[derive(Debug, Clone)]
pub struct Resampling {
    groups: Vec<Vec<usize>>,
    tag: Vec<usize>,
    /// For each tag, whether all of its rows lie in one group.
    nested: Vec<bool>,
    replicates: usize,
    seed: u64,
}

impl Resampling {
    /// Creates the resampling of examples with these groups and tags.
    pub fn new(groups: &[&str], tags: &[&str], replicates: usize, seed: u64) -> Self {
        let (names, group) = numbered(groups.iter().copied());
        let (tag_names, tag) = numbered(tags.iter().copied());
        let mut rows = vec![Vec::new(); names.len()];
        group.iter().enumerate().for_each(|(row, &group)| rows[group].push(row));
        if rows.len() == 1 {
            rows = (0..tags.len()).map(|row| vec![row]).collect();
        }
        let mut home = vec![None; tag_names.len()];
        let mut nested = vec![true; tag_names.len()];
        for (group, rows) in rows.iter().enumerate() {
            for &row in rows {
                let tag = tag[row];
                nested[tag] &= *home[tag].get_or_insert(group) == group;
            }
        }
        Self { groups: rows, tag, nested, replicates, seed }
    }

    /// Creates the resampling of `count` examples that are drawn one by one.
    pub fn of_rows(count: usize, replicates: usize, seed: u64) -> Self {
        let groups = (0..count).map(|row| vec![row]).collect();
        Self { groups, tag: vec![0; count], nested: vec![count < 2], replicates, seed }
    }

    /// Returns the replicate with this number. Each number seeds its own generator, so that results do not depend on
    /// threads.
    pub fn replicate(&self, number: usize) -> Replicate {
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number as u64);
        let mut rng = StdRng::seed_from_u64(seed);
        let drawn: Vec<usize> = (0..self.groups.len()).map(|_| rng.random_range(0..self.groups.len())).collect();
        self.replicate_of(&drawn)
    }

    /// Returns the replicate that consists of these groups.
    pub fn replicate_of(&self, drawn: &[usize]) -> Replicate {
        let mut replicate = Replicate::default();
        let mut next_tag = self.nested.len();
        let mut own: Vec<(usize, usize)> = Vec::new();
        for &group in drawn {
            own.clear();
            for &row in &self.groups[group] {
                let tag = self.tag[row];
                replicate.rows.push(row);
                replicate.tags.push(if self.nested[tag] { copy_of(tag, &mut own, &mut next_tag) } else { tag });
            }
        }
        replicate
    }

    /// Computes `figures` of every replicate, on all processors. Returns one list per figure with one value per
    /// replicate, in the order of the replicates.
    pub fn distributions(&self, figures: impl Fn(&Replicate) -> Vec<f64> + Sync) -> Vec<Vec<f64>> {
        if self.groups.is_empty() {
            return Vec::new();
        }
        let of_replicate = |number| figures(&self.replicate(number));
        let rows: Vec<Vec<f64>> = (0..self.replicates).into_par_iter().map(of_replicate).collect();
        let count = rows.first().map_or(0, Vec::len);
        (0..count).map(|figure| rows.iter().map(|row| row[figure]).collect()).collect()
    }
}

/// Returns the number that identifies a nested tag in one drawn copy of its group. The images of a nested tag all lie
/// in one group, and the tag gets a new number in each copy. `own` lists the tags of this copy that have a number, and
/// `next` is the next unused number.
fn copy_of(tag: usize, own: &mut Vec<(usize, usize)>, next: &mut usize) -> usize {
    if let Some((_, number)) = own.iter().find(|(known, _)| *known == tag) {
        return *number;
    }
    own.push((tag, *next));
    *next += 1;
    *next - 1
}

/// Returns the percentile interval with a coverage of [`LEVEL`]. Undefined values are ignored; without defined values
/// the ends are `NaN`.
pub fn interval(values: &[f64]) -> (f64, f64) {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - LEVEL) / 2.0;
    (quantile(&sorted, tail), quantile(&sorted, 1.0 - tail))
}

/// Returns the quantile `share` (0 to 1) of sorted values with linear interpolation; `NaN` without values.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = share * last as f64;
    let low = (position.floor() as usize).min(last);
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::mean;

    #[test]
    fn a_tag_within_a_group_is_another_tag_in_each_copy_and_a_tag_across_groups_is_not() {
        let resampling = Resampling::new(&["g", "g", "h", "h"], &["own", "shared", "shared", "other"], 1, 1);
        let twice = resampling.replicate_of(&[0, 0]);
        assert_eq!(twice.rows, [0, 1, 0, 1]);
        let shared = 2;
        assert_eq!((twice.tags[1], twice.tags[3]), (shared, shared));
        assert_ne!(twice.tags[0], twice.tags[2]);
    }

    #[test]
    fn a_single_group_has_its_images_drawn() {
        let resampling = Resampling::new(&["g"; 50], &["t"; 50], 1, 1);
        let replicate = resampling.replicate(0);
        assert_eq!(replicate.tags, [0; 50]);
        assert!((0..50).any(|row| !replicate.rows.contains(&row)));
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_law() {
        // The standard deviation of the mean of n independent values is their population deviation divided by sqrt(n).
        let values: Vec<f64> = (0..400).map(|i| f64::from(i * 7919 % 400) / 400.0).collect();
        let resampling = Resampling::of_rows(values.len(), 4000, 11);
        let means = resampling.distributions(|r| vec![mean(&r.rows.iter().map(|&i| values[i]).collect::<Vec<_>>())]);
        let (low, high) = interval(&means[0]);
        let half = 1.959_964 * (1.0f64 / 12.0).sqrt() / 20.0;
        let centre = mean(&values);
        assert!((low - (centre - half)).abs() < 0.002 && (high - (centre + half)).abs() < 0.002, "{low} {high} {half}");
        assert_eq!(
            means,
            resampling.distributions(|r| vec![mean(&r.rows.iter().map(|&i| values[i]).collect::<Vec<_>>())])
        );
    }

    #[test]
    fn quantiles_are_linear_between_values_and_undefined_values_do_not_count() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(interval(&[f64::NAN, 2.0]), (2.0, 2.0));
    }
}
