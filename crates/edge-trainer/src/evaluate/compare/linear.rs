//! Straight lines and ridge regression in closed form, in f64.

use nalgebra::{Cholesky, DMatrix, DVector, RowDVector};

use crate::metrics::mean;

/// A line `y = offset + slope x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Value at x = 0.
    pub offset: f64,
    /// Increase per unit of x.
    pub slope: f64,
}

impl Line {
    /// Fits the line by least squares. If `x` is constant, the slope is 0.
    pub fn through(x: &[f64], y: &[f64]) -> Self {
        let (mean_x, mean_y) = (mean(x), mean(y));
        let (mut xy, mut xx) = (0.0, 0.0);
        for (x, y) in x.iter().zip(y) {
            xy += (x - mean_x) * (y - mean_y);
            xx += (x - mean_x).powi(2);
        }
        let slope = if xx > 0.0 { xy / xx } else { 0.0 };
        Self { offset: mean_y - slope * mean_x, slope }
    }

    /// Returns the value at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.offset + self.slope * x
    }
}

/// Ridge regression of `y` on the columns of `x`. Both are centred, and the columns are scaled to unit variance. The
/// weights minimise `|y - x w|^2 + strength n |w|^2` (Hoerl and Kennard, "Ridge regression", 1970).
#[derive(Debug, Clone)]
pub struct Ridge {
    centre: RowDVector<f64>,
    scale: RowDVector<f64>,
    standard: DMatrix<f64>,
    mean: f64,
    residual: DVector<f64>,
    /// `x x^T` if there are fewer rows than columns, otherwise `x^T x`. Both give the same weights; the smaller one is
    /// faster.
    gram: DMatrix<f64>,
}

/// Fitted weights of a ridge regression.
#[derive(Debug, Clone)]
pub struct RidgeFit<'a> {
    ridge: &'a Ridge,
    weights: DVector<f64>,
}

impl Ridge {
    /// Prepares the equations that [`Ridge::fit`] solves for each strength. `x` is `[N, D]` with at least one row.
    pub fn new(x: &DMatrix<f64>, y: &[f64]) -> Self {
        let centre = x.row_mean();
        let scale = x.row_variance().map(|variance| if variance.sqrt() > 1e-12 { variance.sqrt() } else { 1.0 });
        let standard = standardised(x, &centre, &scale);
        let mean = mean(y);
        let residual = DVector::from_iterator(y.len(), y.iter().map(|y| y - mean));
        let transposed = standard.transpose();
        let gram = if x.nrows() < x.ncols() { &standard * transposed } else { transposed * &standard };
        Self { centre, scale, standard, mean, residual, gram }
    }

    /// Returns the weights for one strength; `None` if rounding makes the equations unsolvable.
    pub fn fit(&self, strength: f64) -> Option<RidgeFit<'_>> {
        let n = self.standard.nrows() as f64;
        let mut equations = self.gram.clone();
        (0..equations.nrows()).for_each(|i| equations[(i, i)] += strength * n);
        let weights = if self.standard.nrows() < self.standard.ncols() {
            self.standard.tr_mul(&solve(equations, &self.residual)?)
        } else {
            solve(equations, &self.standard.tr_mul(&self.residual))?
        };
        Some(RidgeFit { ridge: self, weights })
    }
}

impl RidgeFit<'_> {
    /// Predicts `y` for each row of `x`, which has the same columns as the fitted matrix.
    pub fn predict(&self, x: &DMatrix<f64>) -> Vec<f64> {
        let predicted = standardised(x, &self.ridge.centre, &self.ridge.scale) * &self.weights;
        predicted.add_scalar(self.ridge.mean).iter().copied().collect()
    }
}

fn standardised(x: &DMatrix<f64>, centre: &RowDVector<f64>, scale: &RowDVector<f64>) -> DMatrix<f64> {
    DMatrix::from_fn(x.nrows(), x.ncols(), |row, column| (x[(row, column)] - centre[column]) / scale[column])
}

/// Solves `a z = b`; `None` if `a` is not positive definite.
fn solve(a: DMatrix<f64>, b: &DVector<f64>) -> Option<DVector<f64>> {
    Some(Cholesky::new(a)?.solve(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, rows: usize, columns: usize) -> DMatrix<f64> {
        let mut state = seed;
        DMatrix::from_fn(rows, columns, |_, _| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(u32::MAX >> 1) - 0.5
        })
    }

    #[test]
    fn a_line_goes_through_its_points() {
        let line = Line::through(&[1.0, 2.0, 4.0], &[3.0, 5.0, 9.0]);
        assert!((line.slope - 2.0).abs() < 1e-12 && (line.at(0.0) - 1.0).abs() < 1e-12);
        assert_eq!(Line::through(&[1.0, 1.0], &[3.0, 5.0]), Line { offset: 4.0, slope: 0.0 });
    }

    #[test]
    fn the_gradient_of_the_ridges_loss_is_zero() {
        for (rows, columns) in [(40, 7), (9, 20)] {
            let (x, y) = (noise(1, rows, columns), noise(2, rows, 1).as_slice().to_vec());
            let ridge = Ridge::new(&x, &y);
            let fit = ridge.fit(0.03).unwrap();
            let residual = &ridge.residual - &ridge.standard * &fit.weights;
            let gradient = ridge.standard.tr_mul(&residual) - &fit.weights * (0.03 * rows as f64);
            assert!(gradient.iter().all(|g| g.abs() < 1e-10), "{rows} x {columns}: {gradient}");
            let predicted = fit.predict(&x);
            let expected = (&ridge.standard * &fit.weights).add_scalar(ridge.mean);
            assert!(predicted.iter().zip(expected.iter()).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }

    #[test]
    fn what_is_linear_is_found_again_and_a_constant_column_does_no_harm() {
        let mut x = noise(3, 50, 4);
        x.column_mut(3).fill(2.0);
        let y: Vec<f64> = x.row_iter().map(|r| 1.5 + 2.0 * r[0] - r[1]).collect();
        let ridge = Ridge::new(&x, &y);
        let found = ridge.fit(1e-9).unwrap().predict(&x);
        assert!(found.iter().zip(&y).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn equations_without_a_solution_have_none() {
        let indefinite = DMatrix::from_row_slice(2, 2, &[1.0, 2.0, 2.0, 1.0]);
        assert!(solve(indefinite, &DVector::from_element(2, 1.0)).is_none());
    }
}
