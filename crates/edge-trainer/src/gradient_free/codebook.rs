//! Learns a codebook, linear filters for image patches, by spherical k-means on whitened patches (Coates, Ng, "Learning
//! feature representations with k-means", 2012).

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rand::RngExt;
use rand::rngs::StdRng;

/// Constant that is added to the variances before whitening. For comparison, a standardised patch has the variance 1.
const FLOOR: f64 = 0.05;
/// Number of iterations of k-means.
const ROUNDS: usize = 12;

/// Linear filters: the response to a standardised patch `u` is `filters u - shifts`.
#[derive(Debug, Clone, PartialEq)]
pub struct Filters {
    /// One filter of P values in each of the K rows, `[K, P]`.
    pub filters: DMatrix<f64>,
    /// The shift of each filter, `[K]`.
    pub shifts: DVector<f64>,
}

/// Learns `count` filters from standardised `patches [N, P]`. In the whitened space the filters are cluster centres of
/// length 1.
pub fn learn_filters(patches: &DMatrix<f64>, count: usize, rng: &mut StdRng) -> Filters {
    let (mean, whitening) = whitening(patches);
    let white = DMatrix::from_fn(patches.nrows(), patches.ncols(), |i, j| patches[(i, j)] - mean[j]) * &whitening;
    let mut centres = DMatrix::from_fn(count, patches.ncols(), |_, _| normal(rng));
    centres.row_iter_mut().for_each(|mut row| {
        let length = row.norm();
        row /= length;
    });
    for _ in 0..ROUNDS {
        centres = updated(&white, &centres, rng);
    }
    let filters = &centres * whitening.transpose();
    let shifts = &filters * mean;
    Filters { filters, shifts }
}

/// Returns the mean patch, and the symmetric matrix that makes the values of a patch uncorrelated.
fn whitening(patches: &DMatrix<f64>) -> (DVector<f64>, DMatrix<f64>) {
    let n = patches.nrows().max(1) as f64;
    let mean = DVector::from_iterator(patches.ncols(), patches.column_iter().map(|c| c.sum() / n));
    let covariance = patches.transpose() * patches / n - &mean * mean.transpose();
    let SymmetricEigen { eigenvalues, eigenvectors } = SymmetricEigen::new(covariance);
    let scale = eigenvalues.map(|v| 1.0 / (v.max(0.0) + FLOOR).sqrt());
    let scaled = &eigenvectors * DMatrix::from_diagonal(&scale);
    (mean, scaled * eigenvectors.transpose())
}

/// Returns the centres after one iteration, scaled to length 1. A centre is the weighted sum of the patches that have
/// their largest scalar product with it; the weights are these products. A centre without patches is replaced by a
/// random patch.
fn updated(white: &DMatrix<f64>, centres: &DMatrix<f64>, rng: &mut StdRng) -> DMatrix<f64> {
    let products = white * centres.transpose();
    let mut sums = DMatrix::zeros(centres.nrows(), centres.ncols());
    for (patch, products) in white.row_iter().zip(products.row_iter()) {
        let (best, product) =
            products.iter().enumerate().fold((0, f64::NEG_INFINITY), |m, (i, &p)| if p > m.1 { (i, p) } else { m });
        let mut sum = sums.row_mut(best);
        sum += patch * product;
    }
    for i in 0..sums.nrows() {
        if sums.row(i).norm() < 1e-9 && white.nrows() > 0 {
            sums.set_row(i, &white.row(rng.random_range(0..white.nrows())));
        }
        let length = sums.row(i).norm().max(1e-12);
        let mut row = sums.row_mut(i);
        row /= length;
    }
    sums
}

/// Returns a normally distributed number (Box, Muller, 1958).
fn normal(rng: &mut StdRng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn whitened_patches_are_uncorrelated() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut patches = DMatrix::from_fn(4000, 3, |_, _| normal(&mut rng));
        patches.column_mut(0).scale_mut(5.0);
        let shared = patches.column(0) * 0.4;
        let mut second = patches.column_mut(1);
        second += shared;
        let (mean, whitening) = whitening(&patches);
        let white = DMatrix::from_fn(4000, 3, |i, j| patches[(i, j)] - mean[j]) * whitening;
        let covariance = white.tr_mul(&white) / 4000.0;
        for i in 0..3 {
            assert!(covariance[(i, i)] > 0.9 && covariance[(i, i)] <= 1.001, "{covariance}");
            (0..i).for_each(|j| assert!(covariance[(i, j)].abs() < 0.02, "{covariance}"));
        }
    }

    #[test]
    fn the_filters_find_the_directions_that_patches_have() {
        let mut rng = StdRng::seed_from_u64(2);
        let directions = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let rows: Vec<_> = (0..900)
            .map(|i| {
                let strength = 2.0 + normal(&mut rng).abs();
                nalgebra::RowDVector::from_fn(4, |_, j| strength * directions[i % 3][j] + 0.02 * normal(&mut rng))
            })
            .collect();
        let patches = DMatrix::from_rows(&rows);
        let learned = learn_filters(&patches, 6, &mut rng);
        assert_eq!((learned.filters.nrows(), learned.filters.ncols(), learned.shifts.len()), (6, 4, 6));
        for direction in directions {
            let patch = DVector::from_row_slice(&direction) * 3.0;
            let responses = &learned.filters * &patch - &learned.shifts;
            let best = responses.imax();
            let others = directions.iter().filter(|d| **d != direction).map(|d| {
                let response = &learned.filters * DVector::from_row_slice(d) * 3.0 - &learned.shifts;
                response[best]
            });
            others.for_each(|other| assert!(responses[best] > 1.5 * other, "{} {other}", responses[best]));
        }
    }
}
