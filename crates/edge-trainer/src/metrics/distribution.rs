//! Distances between the distributions of two sets of scores, independent of the images that the scores belong to.

/// Width of a histogram bin in score units.
pub const BIN_WIDTH: f64 = 0.25;
/// Value added to the count of every bin for the KL divergence. Without it an empty bin would make the divergence
/// infinite; with a tiny value a single image would dominate it. Half a count is the Krichevsky-Trofimov estimate.
pub const EPSILON: f64 = 0.5;

/// Histogram bins of `BIN_WIDTH` over a score scale. Scores outside the scale count in the first or last bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bins {
    low: f64,
    count: usize,
}

impl Bins {
    /// Creates bins from `low` to at least `high`.
    pub fn over(low: f64, high: f64) -> Self {
        // The subtraction prevents an extra bin by rounding if the scale is a whole number of bins.
        let count = ((high - low) / BIN_WIDTH - 1e-9).ceil();
        Self { low, count: if count >= 1.0 { count as usize } else { 1 } }
    }

    /// Returns the number of bins.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the lower edge of a bin. For `bin = count()`, this is the upper edge of the last bin.
    pub fn edge(&self, bin: usize) -> f64 {
        self.low + bin as f64 * BIN_WIDTH
    }

    /// Returns the number of values per bin.
    pub fn histogram(&self, values: &[f64]) -> Vec<f64> {
        let mut counts = vec![0.0; self.count];
        for value in values {
            // Casting a negative number or NaN gives zero.
            let bin = ((value - self.low) / BIN_WIDTH).floor() as usize;
            counts[bin.min(self.count - 1)] += 1.0;
        }
        counts
    }
}

/// Returns the Kullback-Leibler divergence in nats, `sum over k of p_k ln(p_k / q_k)`, of the histograms of `truth` (p)
/// and `prediction` (q), with [`EPSILON`] added to every count (Kullback and Leibler, "On information and sufficiency",
/// 1951).
pub fn kl_divergence(bins: &Bins, truth: &[f64], prediction: &[f64]) -> f64 {
    let shares = |values: &[f64]| {
        let all = values.len() as f64 + EPSILON * bins.count() as f64;
        bins.histogram(values).into_iter().map(move |count| (count + EPSILON) / all)
    };
    shares(truth).zip(shares(prediction)).map(|(p, q)| p * (p / q).ln()).sum()
}

/// Returns the earth mover's distance with r = 2 of Talebi and Milanfar, "NIMA: Neural image assessment", 2018:
/// `sqrt(1/K * sum over k of (P_k - Q_k)^2)` of the cumulative histograms P and Q over K bins.
pub fn earth_movers_distance(bins: &Bins, truth: &[f64], prediction: &[f64]) -> f64 {
    let cumulative = |values: &[f64]| {
        let all = values.len() as f64;
        let mut sum = 0.0;
        bins.histogram(values).into_iter().map(move |count| {
            sum += count;
            sum / all
        })
    };
    let squares: f64 = cumulative(truth).zip(cumulative(prediction)).map(|(p, q)| (p - q) * (p - q)).sum();
    (squares / bins.count() as f64).sqrt()
}

/// Returns the 1-Wasserstein distance of two sets of equal size, in their unit: the mean distance of the sorted values.
pub fn wasserstein(truth: &[f64], prediction: &[f64]) -> f64 {
    let sorted = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted
    };
    let distance: f64 = sorted(truth).iter().zip(sorted(prediction)).map(|(a, b)| (a - b).abs()).sum();
    distance / truth.len() as f64
}

/// Returns Kolmogorov's distance (1933) of values in 0..=1 to the uniform distribution: the largest difference between
/// a point and the share of values up to it. `NaN` without values.
pub fn kolmogorov_to_uniform(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let at = |(i, value): (usize, &f64)| ((i + 1) as f64 / n - value).max(value - i as f64 / n);
    values.iter().enumerate().map(at).fold(f64::NAN, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_of_whole_bins_has_no_bin_more() {
        assert_eq!((Bins::over(1.0, 10.0).count(), Bins::over(0.0, 5.0).count()), (36, 20));
        assert_eq!((Bins::over(0.0, 0.3).count(), Bins::over(2.0, 2.0).count()), (2, 1));
    }

    #[test]
    fn values_outside_of_the_scale_count_at_its_ends() {
        assert_eq!(Bins::over(0.0, 1.0).histogram(&[-3.0, 0.1, 0.25, 1.0, 7.0]), [2.0, 1.0, 0.0, 2.0]);
    }

    #[test]
    fn equal_sets_have_no_distance_and_a_shift_moves_as_far_as_it_is() {
        let (bins, a) = (Bins::over(0.0, 5.0), [0.5, 1.5, 1.6, 4.0]);
        let shifted = a.map(|v| v + 0.5);
        assert_eq!(
            (kl_divergence(&bins, &a, &a), earth_movers_distance(&bins, &a, &a), wasserstein(&a, &a)),
            (0.0, 0.0, 0.0)
        );
        assert!((wasserstein(&a, &shifted) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_distance_to_the_uniform_distribution_is_kolmogorovs() {
        // scipy.stats.kstest([0.1, 0.4, 0.45, 0.9], "uniform").statistic
        assert!((kolmogorov_to_uniform(vec![0.9, 0.1, 0.45, 0.4]) - 0.3).abs() < 1e-12);
        assert!(
            (kolmogorov_to_uniform((0..1000).map(|i| (f64::from(i) + 0.5) / 1000.0).collect()) - 0.0005).abs() < 1e-9
        );
        assert_eq!(kolmogorov_to_uniform(vec![0.0; 7]), 1.0);
        assert!(kolmogorov_to_uniform(Vec::new()).is_nan());
    }
}
