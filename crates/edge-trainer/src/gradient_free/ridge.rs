//! Kernel ridge regression with a subset of the examples as centres.

use nalgebra::{Cholesky, DMatrix};

use super::triangular::{inverse_factor, lower_product, product_with_itself};

/// Value that is added to the diagonal of the equations against rounding errors, as a share of the diagonal's mean.
const JITTER: f64 = 1e-10;

/// Kernel ridge regression. The prediction is `f(x) = sum over centres of weight k(x, centre)`. The weights `w`
/// minimise `sum of (target - f)^2 + ridge w' K w`, where K is the kernel of the centres. If every example is a centre,
/// this is exact kernel ridge regression, else its subset-of-regressors approximation (Rasmussen, Williams, "Gaussian
/// processes for machine learning", 2006, section 8.3.1).
#[derive(Debug, Clone)]
pub struct KernelRidge {
    /// Kernel between the centres, `[M, M]`.
    centres: DMatrix<f64>,
    /// Kernel between centres and examples, `[M, N]`.
    examples: DMatrix<f64>,
    /// Indices of the examples of each group. The examples of a group are held out together.
    groups: Vec<Vec<usize>>,
}

/// The fit of a kernel ridge regression to Q targets.
#[derive(Debug, Clone)]
pub struct KernelFit {
    /// The weight of each of the M centres for each target, `[M, Q]`.
    pub weights: DMatrix<f64>,
    /// The mean of each target, which is added to every prediction.
    pub mean: Vec<f64>,
    /// The prediction for each example, `[N, Q]`, by a fit that leaves out the example and its group.
    pub held_out: DMatrix<f64>,
    /// The ridge parameter with the smallest held-out error.
    pub ridge: f64,
    /// Mean squared error of the held-out predictions over the labelled examples.
    pub error: f64,
}

impl KernelRidge {
    /// Creates a regression from the kernel of the centres `[M, M]`, the kernel between examples and centres `[N, M]`,
    /// and a group number for each example. Examples with the same number are held out together.
    pub fn new(centres: DMatrix<f64>, examples: DMatrix<f64>, group: &[usize]) -> Self {
        Self { centres, examples: examples.transpose(), groups: Vec::new() }.grouped(group)
    }

    /// Returns the same regression with other groups. Examples with the same number in `group` are held out together.
    pub fn grouped(self, group: &[usize]) -> Self {
        let mut groups = vec![Vec::new(); group.iter().max().map_or(0, |m| m + 1)];
        group.iter().enumerate().for_each(|(row, &g)| groups[g].push(row));
        groups.retain(|rows| !rows.is_empty());
        Self { groups, ..self }
    }

    /// Fits the regression to `targets [L, Q]` of the examples `labelled`. Chooses from `ridges` the ridge parameter
    /// with the smallest held-out error. Returns `None` if the equations have no solution for any ridge parameter,
    /// which happens only with values that are not finite.
    pub fn fit(&self, labelled: &[usize], targets: &DMatrix<f64>, ridges: &[f64]) -> Option<KernelFit> {
        let known = self.examples.select_columns(labelled);
        let mean: Vec<f64> = targets.column_iter().map(|t| t.mean()).collect();
        let centred = DMatrix::from_fn(targets.nrows(), targets.ncols(), |i, j| targets[(i, j)] - mean[j]);
        let (square, right_side) = (product_with_itself(known.as_view()), &known * &centred);
        let mut label_of = vec![None; self.examples.ncols()];
        labelled.iter().enumerate().for_each(|(at, &row)| label_of[row] = Some(at));
        let fits = ridges.iter().filter_map(|&ridge| {
            let factor = self.inverse_factor(&square, ridge)?;
            let part = lower_product(factor.as_view(), right_side.as_view());
            let weights = factor.transpose() * &part;
            let mut held_out = self.held_out(&factor, &part, &label_of, &centred)?;
            let errors =
                labelled.iter().enumerate().map(|(at, &row)| (held_out.row(row) - centred.row(at)).norm_squared());
            let error = errors.sum::<f64>() / (labelled.len() * mean.len()).max(1) as f64;
            held_out.row_iter_mut().for_each(|mut row| row.iter_mut().zip(&mean).for_each(|(v, m)| *v += m));
            Some(KernelFit { weights, mean: mean.clone(), held_out, ridge, error })
        });
        fits.filter(|f| f.error.is_finite()).min_by(|a, b| a.error.total_cmp(&b.error))
    }

    /// Returns the inverse factor `F [M, M]` with `F' F = (square + ridge centres)^-1`. `square` is `known known'`, where `known` is the
    /// kernel `[M, L]` between the centres and the labelled examples.
    fn inverse_factor(&self, square: &DMatrix<f64>, ridge: f64) -> Option<DMatrix<f64>> {
        let mut normal = square + &self.centres * ridge;
        let jitter = JITTER * normal.trace() / normal.nrows().max(1) as f64;
        (0..normal.nrows()).for_each(|i| normal[(i, i)] += jitter);
        inverse_factor(&normal)
    }

    /// Returns the held-out predictions `[N, Q]` of the centred targets. If the labelled examples S are held out, the prediction for an
    /// example i is `z_i' p - z_i' Z_S (1 - Z_S' Z_S)^-1 r_S`. The columns of `Z` are `z_i = F k_i`, where `F` is `factor` and `k_i` the
    /// kernel between the centres and i; `p` is `part`, the product of `F` and the right side of the equations, `[M, Q]`; `r_S` are the
    /// residuals of S in the fit to all labelled examples. `label_of` gives the row of each example in `centred`; `None` for an example
    /// without a label.
    fn held_out(
        &self,
        factor: &DMatrix<f64>,
        part: &DMatrix<f64>,
        label_of: &[Option<usize>],
        centred: &DMatrix<f64>,
    ) -> Option<DMatrix<f64>> {
        let all = lower_product(factor.as_view(), self.examples.as_view());
        let mut answers = (part.transpose() * &all).transpose();
        for group in &self.groups {
            let labelled: Vec<(usize, usize)> = group.iter().filter_map(|&row| Some((row, label_of[row]?))).collect();
            let (rows, labels): (Vec<usize>, Vec<usize>) = labelled.into_iter().unzip();
            if rows.is_empty() {
                continue;
            }
            let own = all.select_columns(&rows);
            let residuals = centred.select_rows(&labels) - answers.select_rows(&rows);
            let share = DMatrix::identity(rows.len(), rows.len()) - own.transpose() * &own;
            let change = own * Cholesky::new(share)?.solve(&residuals);
            let changes = all.select_columns(group).transpose() * change;
            for (&row, change) in group.iter().zip(changes.row_iter()) {
                answers.row_mut(row).iter_mut().zip(change.iter()).for_each(|(answer, change)| *answer -= change);
            }
        }
        Some(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_free::gram;

    fn points(n: usize) -> Vec<DMatrix<f64>> {
        vec![DMatrix::from_fn(n, 2, |i, j| (i as f64 * [0.7, 1.3][j]).sin() * 4.0)]
    }

    fn targets(n: usize) -> DMatrix<f64> {
        DMatrix::from_fn(n, 2, |i, q| (i as f64 * 0.7).sin() + if q == 0 { 3.0 } else { (i as f64 * 1.3).sin() })
    }

    /// Returns the prediction for row `test` by kernel ridge regression on the rows `train`, with the textbook formula.
    fn textbook(x: &DMatrix<f64>, train: &[usize], targets: &DMatrix<f64>, mean: &[f64], test: usize) -> Vec<f64> {
        let own = train.iter().map(|&i| gram(&[x.select_rows(&[i])], &[x.select_rows(train)], &[1.0], 4.0));
        let rows: Vec<_> = own.map(|m| m.row(0).into_owned()).collect();
        let ridged = DMatrix::from_rows(&rows) + DMatrix::identity(train.len(), train.len()) * 0.1;
        let centred = DMatrix::from_fn(train.len(), mean.len(), |i, q| targets[(train[i], q)] - mean[q]);
        let weights = ridged.lu().solve(&centred).unwrap();
        let answer = gram(&[x.select_rows(&[test])], &[x.select_rows(train)], &[1.0], 4.0) * weights;
        answer.iter().zip(mean).map(|(a, m)| a + m).collect()
    }

    #[test]
    fn with_all_examples_as_centres_it_is_kernel_ridge_regression_and_its_held_out_answers_are_refits() {
        let (x, y) = (points(24), targets(24));
        let kernel = gram(&x, &x, &[1.0], 4.0);
        let group: Vec<usize> = (0..24).map(|i| i / 4).collect();
        let all: Vec<usize> = (0..24).collect();
        let fitted = KernelRidge::new(kernel.clone(), kernel.clone(), &group).fit(&all, &y, &[0.1]).unwrap();
        let mean = &fitted.mean;
        for test in 0..24 {
            let answers = kernel.row(test) * &fitted.weights;
            let expected = textbook(&x[0], &all, &y, mean, test);
            let others: Vec<usize> = (0..24).filter(|i| i / 4 != test / 4).collect();
            let without = textbook(&x[0], &others, &y, mean, test);
            for q in 0..2 {
                assert!((answers[q] + mean[q] - expected[q]).abs() < 1e-6, "{test} {q}");
                assert!((fitted.held_out[(test, q)] - without[q]).abs() < 1e-6, "{test} {q}");
            }
        }
    }

    #[test]
    fn examples_without_a_label_are_held_out_with_their_group() {
        let (x, y) = (points(24), targets(24));
        let kernel = gram(&x, &x, &[1.0], 4.0);
        let group: Vec<usize> = (0..24).map(|i| i % 8).collect();
        let labelled: Vec<usize> = (0..16).collect();
        let ridge = KernelRidge::new(kernel.clone(), kernel, &group);
        let fitted = ridge.fit(&labelled, &y.rows(0, 16).into_owned(), &[0.1]).unwrap();
        let others: Vec<usize> = (0..16).filter(|i| i % 8 != 3).collect();
        let without = textbook(&x[0], &others, &y, &fitted.mean, 19);
        assert!((fitted.held_out[(19, 0)] - without[0]).abs() < 1e-6);
    }

    #[test]
    fn the_ridge_with_the_smallest_held_out_error_is_chosen() {
        let x = points(40);
        let kernel = gram(&x, &x, &[1.0], 4.0);
        let noisy = DMatrix::from_fn(40, 1, |i, _| (i as f64 * 0.7).sin() + 0.3 * ((i * i) as f64 * 77.7).cos());
        let (all, group): (Vec<usize>, Vec<usize>) = ((0..40).collect(), (0..40).collect());
        let ridge = KernelRidge::new(kernel.clone(), kernel, &group);
        let ridges = [1e-6, 0.03, 0.1, 1e4];
        let alone = |r| ridge.fit(&all, &noisy, &[r]).unwrap().error;
        let fitted = ridge.fit(&all, &noisy, &ridges).unwrap();
        assert!(ridges.iter().all(|&r| fitted.error <= alone(r)));
        assert!(fitted.ridge > 1e-6 && fitted.ridge < 1e4, "{} {:?}", fitted.ridge, ridges.map(alone));
    }

    #[test]
    fn fewer_centres_come_close() {
        let (x, y) = (points(60), targets(60));
        let few: Vec<usize> = (0..60).step_by(2).collect();
        let centres = vec![x[0].select_rows(&few)];
        let (small, wide) = (gram(&centres, &centres, &[1.0], 4.0), gram(&x, &centres, &[1.0], 4.0));
        let all: Vec<usize> = (0..60).collect();
        let fitted = KernelRidge::new(small, wide, &all).fit(&all, &y, &[0.01]).unwrap();
        assert!(fitted.error < 0.05, "{}", fitted.error);
        let broken = DMatrix::from_element(60, 1, f64::NAN);
        let wide = gram(&x, &x, &[1.0], 4.0);
        assert!(KernelRidge::new(wide.clone(), wide, &all).fit(&all, &broken, &[0.1]).is_none());
    }
}
