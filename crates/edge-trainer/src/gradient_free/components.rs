//! Computes the principal components of image measurements.

use nalgebra::{DMatrix, DVector, Dyn, SymmetricEigen};

/// Largest magnitude of a standardised measurement, in standard deviations. Larger values are clamped, so that an
/// unusual image stays near the training data.
pub const REACH: f64 = 4.0;
/// Smallest standard deviation of a measurement that varies. A measurement with a smaller one over the training data is
/// replaced by 0.
const CONSTANT: f64 = 1e-7;

/// Standardisation and projection to principal components. Each component is divided by the square root of its standard
/// deviation. Without the division the first few components dominate; divided by the whole standard deviation, noise
/// has the same weight as the other components. The mean square over all components and all training data is 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Components {
    /// Mean of each of the F measurements over the training data, `[F]`.
    pub mean: Vec<f64>,
    /// Reciprocal standard deviation of each measurement, `[F]`; 0 for a constant measurement.
    pub scale: Vec<f64>,
    /// Scaled directions of the components, `[F, K]`.
    pub directions: DMatrix<f64>,
}

impl Components {
    /// Returns the `count` leading components of `rows [N, F]`, or all components if there are fewer.
    pub fn fit(rows: &DMatrix<f64>, count: usize) -> Self {
        let n = rows.nrows().max(1) as f64;
        let (mean, scale): (Vec<f64>, Vec<f64>) = rows
            .column_iter()
            .map(|column| {
                let mean = column.sum() / n;
                let deviation = (column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
                (mean, if deviation > CONSTANT { 1.0 / deviation } else { 0.0 })
            })
            .unzip();
        let mut components = Self { mean, scale, directions: DMatrix::zeros(rows.ncols(), 0) };
        let standard = components.standardise(rows);
        let (directions, variances) = principal(&standard, count);
        components.directions = directions;
        for (mut direction, variance) in components.directions.column_iter_mut().zip(&variances) {
            direction /= variance.powf(0.25);
        }
        let spread = variances.iter().map(|v| v.sqrt()).sum::<f64>() / variances.len().max(1) as f64;
        if spread > 0.0 {
            components.directions /= spread.sqrt();
        }
        components
    }

    /// Projects measurements `[N, F]` to components `[N, K]`.
    pub fn apply(&self, rows: &DMatrix<f64>) -> DMatrix<f64> {
        self.standardise(rows) * &self.directions
    }

    /// Standardises each measurement and clamps it to [`REACH`].
    fn standardise(&self, rows: &DMatrix<f64>) -> DMatrix<f64> {
        DMatrix::from_fn(rows.nrows(), rows.ncols(), |i, j| {
            ((rows[(i, j)] - self.mean[j]) * self.scale[j]).clamp(-REACH, REACH)
        })
    }
}

/// Returns at most `count` directions `[F, K]` along which `rows [N, F]` have the largest mean squares, and these mean
/// squares. The largest comes first. Solves the smaller of the two eigenvalue problems, `F x F` or `N x N`.
fn principal(rows: &DMatrix<f64>, count: usize) -> (DMatrix<f64>, Vec<f64>) {
    let n = rows.nrows().max(1) as f64;
    let tall = rows.nrows() > rows.ncols();
    let square = if tall { rows.transpose() * rows } else { rows * rows.transpose() } / n;
    let SymmetricEigen { eigenvalues, eigenvectors } = leading(square, count, LARGE);
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|a, b| eigenvalues[*b].total_cmp(&eigenvalues[*a]));
    let least = order.first().map_or(0.0, |&first| eigenvalues[first] * 1e-9);
    order.retain(|&i| eigenvalues[i] > least);
    order.truncate(count);
    let directions: Vec<DVector<f64>> = order
        .iter()
        .map(|&i| {
            let vector = eigenvectors.column(i);
            let direction = if tall { vector.into_owned() } else { rows.tr_mul(&vector) / (eigenvalues[i] * n).sqrt() };
            // The sign of an eigenvector is arbitrary. Make the largest entry positive, so that the result is the same
            // everywhere.
            let largest = direction.iter().copied().fold(0.0, |m: f64, v| if v.abs() > m.abs() { v } else { m });
            if largest < 0.0 { -direction } else { direction }
        })
        .collect();
    let variances = order.iter().map(|&i| eigenvalues[i]).collect();
    let directions =
        if directions.is_empty() { DMatrix::zeros(rows.ncols(), 0) } else { DMatrix::from_columns(&directions) };
    (directions, variances)
}

/// Side of a matrix from which on only its leading eigenvectors are computed. All of them take a minute for 3,000 rows.
const LARGE: usize = 800;
/// Number of directions that are iterated beyond those that are needed, so that the last ones converge.
const SPARE: usize = 32;
/// Number of iterations. Each iteration brings the basis nearer to the leading directions.
const ITERATIONS: usize = 10;

/// Returns at least the `count` largest eigenvalues of a symmetric matrix without negative eigenvalues, and their vectors. A matrix of `large` rows
/// or more is projected to the subspace of its leading directions, found by subspace iteration (Halko, Martinsson, Tropp, "Finding structure with
/// randomness", SIAM Review 53, 2011, algorithm 4.4).
fn leading(square: DMatrix<f64>, count: usize, large: usize) -> SymmetricEigen<f64, Dyn> {
    let side = square.nrows();
    if side < large || 4 * (count + SPARE) > side {
        return SymmetricEigen::new(square);
    }
    // A start without structure; the directions hardly depend on it.
    let start = DMatrix::from_fn(side, count + SPARE, |i, j| ((i * 7919 + j * 104_729) as f64 * 0.618).sin());
    let mut basis = start;
    for _ in 0..ITERATIONS {
        basis = (&square * basis).qr().q();
    }
    let within = basis.tr_mul(&(&square * &basis));
    let SymmetricEigen { eigenvalues, eigenvectors } = SymmetricEigen::new(within);
    SymmetricEigen { eigenvalues, eigenvectors: basis * eigenvectors }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns rows with two strong directions, a weak direction and a constant measurement.
    fn rows(n: usize) -> DMatrix<f64> {
        DMatrix::from_fn(n, 5, |i, j| {
            let t = i as f64;
            let parts = [(0.9 * t).sin(), (1.7 * t).cos(), 0.05 * (3.1 * t).sin()];
            match j {
                0 => parts[0],
                1 => 10.0 + 3.0 * parts[1],
                2 => parts[0] - 0.5 * parts[1] + parts[2],
                3 => 7.0,
                _ => parts[0] + parts[1],
            }
        })
    }

    #[test]
    fn components_are_uncorrelated_and_half_whitened() {
        let rows = rows(200);
        let components = Components::fit(&rows, 4);
        let y = components.apply(&rows);
        let square = y.tr_mul(&y) / 200.0;
        let standard = components.standardise(&rows);
        let (_, variances) = principal(&standard, 4);
        assert_eq!(square.ncols(), variances.len());
        let trace: f64 = square.trace() / square.ncols() as f64;
        assert!((trace - 1.0).abs() < 1e-9, "{trace}");
        for i in 0..square.ncols() {
            let expected = (variances[i] / variances[0]).sqrt();
            assert!((square[(i, i)] / square[(0, 0)] - expected).abs() < 1e-9);
            (0..i).for_each(|j| assert!(square[(i, j)].abs() < 1e-9));
        }
    }

    #[test]
    fn few_rows_and_many_rows_find_the_same_directions() {
        let few = rows(4);
        let (dual, variances) = principal(&few, 3);
        let padded = DMatrix::from_fn(8, 5, |i, j| few[(i % 4, j)]);
        let (primal, again) = principal(&padded, 3);
        assert_eq!(dual.ncols(), variances.len());
        for i in 0..2 {
            assert!((variances[i] - again[i]).abs() < 1e-9 * variances[0]);
            assert!((dual.column(i).dot(&primal.column(i)).abs() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn constants_and_outliers_stay_within_bounds() {
        let rows = rows(50);
        let components = Components::fit(&rows, 3);
        assert_eq!(components.scale[3], 0.0);
        let far = DMatrix::from_element(1, 5, 1e9);
        assert!(components.apply(&far).iter().all(|v| v.is_finite() && v.abs() < 20.0));
        let nothing = Components::fit(&DMatrix::from_element(6, 3, 2.0), 2);
        assert_eq!(nothing.apply(&far.columns(0, 3).into_owned()).ncols(), 0);
    }

    #[test]
    fn the_leading_directions_of_many_measurements_are_those_of_all() {
        // 30 strong directions among 300 measurements; the variances of the others fall slowly.
        let wave = |i: usize, j: usize| ((i * 37 + j * 101) as f64 * 0.7 + (i * j) as f64 * 0.013).sin();
        let basis = DMatrix::from_fn(300, 40, wave).qr().q();
        let scores = DMatrix::from_fn(350, 40, |i, k| wave(k, i) * (40 - k) as f64);
        let square = (&scores * basis.transpose()).tr_mul(&(&scores * basis.transpose()));
        let all = SymmetricEigen::new(square.clone());
        let some = leading(square, 24, 100);
        assert!(some.eigenvalues.len() < 100);
        let sorted = |values: &[f64]| {
            let mut values = values.to_vec();
            values.sort_by(|a, b| b.total_cmp(a));
            values
        };
        let (expected, found) = (sorted(all.eigenvalues.as_slice()), sorted(some.eigenvalues.as_slice()));
        for (expected, found) in expected.iter().zip(&found).take(24) {
            assert!((found / expected - 1.0).abs() < 1e-6, "{found} instead of {expected}");
        }
    }
}
