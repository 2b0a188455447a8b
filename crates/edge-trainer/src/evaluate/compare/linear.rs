//! Straight lines and ridge regression in closed form, in f64.

use ndarray::{Array1, Array2, Axis};

use crate::metrics::mean;

/// `y = offset + slope x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// The value at zero.
    pub offset: f64,
    /// The rise per unit.
    pub slope: f64,
}

impl Line {
    /// The line of least squares; a level one where `x` is constant.
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

    /// The value at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.offset + self.slope * x
    }
}

/// Ridge regression of `y` on the columns of `x`, both centred, the columns scaled to unit variance: the weights
/// minimise
/// `|y - x w|^2 + strength n |w|^2` (Hoerl and Kennard, "Ridge regression", 1970).
#[derive(Debug, Clone)]
pub struct Ridge {
    centre: Array1<f64>,
    scale: Array1<f64>,
    standard: Array2<f64>,
    mean: f64,
    residual: Array1<f64>,
    /// `x x^T` where there are fewer rows than columns, else `x^T x`: both lead to the same weights, the smaller one
    /// sooner.
    gram: Array2<f64>,
}

/// Fitted weights.
#[derive(Debug, Clone)]
pub struct RidgeFit<'a> {
    ridge: &'a Ridge,
    weights: Array1<f64>,
}

impl Ridge {
    /// Prepares the equations, which every strength shares. `x` is `[N, D]` with at least one row.
    pub fn new(x: &Array2<f64>, y: &[f64]) -> Self {
        let centre = x.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(x.ncols()));
        let scale = x.std_axis(Axis(0), 0.0).mapv(|s| if s > 1e-12 { s } else { 1.0 });
        let standard = (x - &centre) / &scale;
        let mean = mean(y);
        let residual = y.iter().map(|y| y - mean).collect();
        let gram = if x.nrows() < x.ncols() { standard.dot(&standard.t()) } else { standard.t().dot(&standard) };
        Self { centre, scale, standard, mean, residual, gram }
    }

    /// The weights for one strength; none where rounding leaves the equations without a solution.
    pub fn fit(&self, strength: f64) -> Option<RidgeFit<'_>> {
        let n = self.standard.nrows() as f64;
        let mut equations = self.gram.clone();
        equations.diag_mut().mapv_inplace(|v| v + strength * n);
        let weights = if self.standard.nrows() < self.standard.ncols() {
            self.standard.t().dot(&solve(&equations, &self.residual)?)
        } else {
            solve(&equations, &self.standard.t().dot(&self.residual))?
        };
        Some(RidgeFit { ridge: self, weights })
    }
}

impl RidgeFit<'_> {
    /// The predictions for rows of the kind that the regression was fitted on.
    pub fn predict(&self, x: &Array2<f64>) -> Vec<f64> {
        let standard = (x - &self.ridge.centre) / &self.ridge.scale;
        (standard.dot(&self.weights) + self.ridge.mean).to_vec()
    }
}

/// Solves `a z = b` for symmetric positive definite `a` by Cholesky's factors; none where `a` is not.
fn solve(a: &Array2<f64>, b: &Array1<f64>) -> Option<Array1<f64>> {
    let n = a.nrows();
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let mut factor: Vec<Vec<f64>> = Vec::with_capacity(n);
    for i in 0..n {
        let mut row: Vec<f64> = Vec::with_capacity(i + 1);
        for (j, above) in factor.iter().enumerate() {
            let value = (a[[i, j]] - dot(&row, &above[..j])) / above[j];
            row.push(value);
        }
        let pivot = a[[i, i]] - dot(&row, &row);
        if pivot.is_nan() || pivot <= 0.0 {
            return None;
        }
        row.push(pivot.sqrt());
        factor.push(row);
    }
    let mut z: Vec<f64> = Vec::with_capacity(n);
    for (i, row) in factor.iter().enumerate() {
        let value = (b[i] - dot(&row[..i], &z)) / row[i];
        z.push(value);
    }
    for i in (0..n).rev() {
        z[i] /= factor[i][i];
        let (value, row) = (z[i], &factor[i][..i]);
        z[..i].iter_mut().zip(row).for_each(|(z, l)| *z -= l * value);
    }
    Some(z.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, rows: usize, columns: usize) -> Array2<f64> {
        let mut state = seed;
        Array2::from_shape_simple_fn((rows, columns), || {
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
            let (x, y) = (noise(1, rows, columns), noise(2, rows, 1).column(0).to_vec());
            let ridge = Ridge::new(&x, &y);
            let fit = ridge.fit(0.03).unwrap();
            let residual = &ridge.residual - ridge.standard.dot(&fit.weights);
            let gradient = ridge.standard.t().dot(&residual) - &fit.weights * (0.03 * rows as f64);
            assert!(gradient.iter().all(|g| g.abs() < 1e-10), "{rows} x {columns}: {gradient}");
            let predicted = fit.predict(&x);
            let expected = ridge.standard.dot(&fit.weights) + ridge.mean;
            assert!(predicted.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }

    #[test]
    fn what_is_linear_is_found_again_and_a_constant_column_does_no_harm() {
        let mut x = noise(3, 50, 4);
        x.column_mut(3).fill(2.0);
        let y: Vec<f64> = x.outer_iter().map(|r| 1.5 + 2.0 * r[0] - r[1]).collect();
        let ridge = Ridge::new(&x, &y);
        let found = ridge.fit(1e-9).unwrap().predict(&x);
        assert!(found.iter().zip(&y).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn equations_without_a_solution_have_none() {
        assert!(solve(&ndarray::array![[1.0, 2.0], [2.0, 1.0]], &ndarray::array![1.0, 1.0]).is_none());
    }
}
