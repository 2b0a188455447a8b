//! Ridge regression on a kernel, through the examples that serve as its centres.

use nalgebra::{Cholesky, DMatrix, DVector};

use super::inverse::inverse;

/// Share of the mean diagonal that is added to it, against rounding.
const JITTER: f64 = 1e-10;

/// Examples whose kernel to some centres is known. Answers are `f(x) = sum over centres of weight k(x, centre)`, with the weights
/// that minimise `sum of (target - f)^2 + ridge w' K w`, K being the centres' kernel: kernel ridge regression where every
/// example is a centre, its Nystrom approximation (subset of regressors) else (Rasmussen, Williams, "Gaussian processes for
/// machine learning", 2006, section 8.3.1).
#[derive(Debug, Clone)]
pub struct KernelRidge {
    /// `[M, M]`, of the centres.
    centres: DMatrix<f64>,
    /// `[N, M]`, of the examples to the centres.
    examples: DMatrix<f64>,
    /// The rows of each group of examples that stand or fall together.
    groups: Vec<Vec<usize>>,
}

/// The answers to several questions at once.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// `[M, Q]`.
    pub weights: DMatrix<f64>,
    /// The mean target of each question, which every answer begins from.
    pub mean: Vec<f64>,
    /// `[N, Q]`: what each example is answered when its group was not learned from.
    pub held_out: DMatrix<f64>,
    /// The ridge that was chosen.
    pub ridge: f64,
    /// Mean squared difference of targets and held-out answers over the labelled examples.
    pub error: f64,
}

impl KernelRidge {
    /// `group` says of each example what it belongs to.
    pub fn new(centres: DMatrix<f64>, examples: DMatrix<f64>, group: &[usize]) -> Self {
        Self { centres, examples, groups: Vec::new() }.grouped(group)
    }

    /// The same with other groups.
    pub fn grouped(self, group: &[usize]) -> Self {
        let mut groups = vec![Vec::new(); group.iter().max().map_or(0, |m| m + 1)];
        group.iter().enumerate().for_each(|(row, &g)| groups[g].push(row));
        groups.retain(|rows| !rows.is_empty());
        Self { groups, ..self }
    }

    /// Fits the questions that have `targets [L, Q]` at the examples `labelled`, with the ridge among `ridges` whose held-out
    /// answers are the best. `None` where no ridge can be solved, which takes values that are not finite.
    pub fn fit(&self, labelled: &[usize], targets: &DMatrix<f64>, ridges: &[f64]) -> Option<Fitted> {
        let known = self.examples.select_rows(labelled);
        let mean: Vec<f64> = targets.column_iter().map(|t| t.mean()).collect();
        let centred = DMatrix::from_fn(targets.nrows(), targets.ncols(), |i, j| targets[(i, j)] - mean[j]);
        let turned = known.transpose();
        let (square, against) = (&turned * &known, &turned * &centred);
        let mut place = vec![None; self.examples.nrows()];
        labelled.iter().enumerate().for_each(|(at, &row)| place[row] = Some(at));
        let fits = ridges.iter().filter_map(|&ridge| {
            let inverse = self.inverse(&square, ridge)?;
            let weights = &inverse * &against;
            let mut held_out = self.held_out(&inverse, &weights, &place, &centred)?;
            let errors =
                labelled.iter().enumerate().map(|(at, &row)| (held_out.row(row) - centred.row(at)).norm_squared());
            let error = errors.sum::<f64>() / (labelled.len() * mean.len()).max(1) as f64;
            held_out.row_iter_mut().for_each(|mut row| row.iter_mut().zip(&mean).for_each(|(v, m)| *v += m));
            Some(Fitted { weights, mean: mean.clone(), held_out, ridge, error })
        });
        fits.filter(|f| f.error.is_finite()).min_by(|a, b| a.error.total_cmp(&b.error))
    }

    /// `(known' known + ridge centres)^-1`.
    fn inverse(&self, square: &DMatrix<f64>, ridge: f64) -> Option<DMatrix<f64>> {
        let mut normal = square + &self.centres * ridge;
        let jitter = JITTER * normal.trace() / normal.nrows().max(1) as f64;
        (0..normal.nrows()).for_each(|i| normal[(i, i)] += jitter);
        inverse(&normal)
    }

    /// `[N, Q]`: without a group's labelled examples S the weights are `w - A^-1 K_S' (1 - K_S A^-1 K_S')^-1 r_S`, where `r` is
    /// what the fit leaves of their targets.
    fn held_out(
        &self,
        inverse: &DMatrix<f64>,
        weights: &DMatrix<f64>,
        place: &[Option<usize>],
        centred: &DMatrix<f64>,
    ) -> Option<DMatrix<f64>> {
        let mut answers = &self.examples * weights;
        for group in &self.groups {
            let labelled: Vec<(usize, usize)> = group.iter().filter_map(|&row| Some((row, place[row]?))).collect();
            let (rows, places): (Vec<usize>, Vec<usize>) = labelled.into_iter().unzip();
            if rows.is_empty() {
                continue;
            }
            let own = self.examples.select_rows(&rows);
            let left = centred.select_rows(&places) - &own * weights;
            let towards = inverse * own.transpose();
            let share = DMatrix::identity(rows.len(), rows.len()) - &own * &towards;
            let change = &towards * Cholesky::new(share)?.solve(&left);
            for &row in group {
                let change: DVector<f64> = (self.examples.row(row) * &change).transpose();
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

    /// What kernel ridge regression on `train` says of `test`, by the textbook.
    fn textbook(x: &DMatrix<f64>, train: &[usize], targets: &DMatrix<f64>, mean: &[f64], test: usize) -> Vec<f64> {
        let own = train.iter().map(|&i| gram(&[x.select_rows(&[i])], &[x.select_rows(train)], &[1.0]));
        let rows: Vec<_> = own.map(|m| m.row(0).into_owned()).collect();
        let ridged = DMatrix::from_rows(&rows) + DMatrix::identity(train.len(), train.len()) * 0.1;
        let centred = DMatrix::from_fn(train.len(), mean.len(), |i, q| targets[(train[i], q)] - mean[q]);
        let weights = ridged.lu().solve(&centred).unwrap();
        let answer = gram(&[x.select_rows(&[test])], &[x.select_rows(train)], &[1.0]) * weights;
        answer.iter().zip(mean).map(|(a, m)| a + m).collect()
    }

    #[test]
    fn with_all_examples_as_centres_it_is_kernel_ridge_regression_and_its_held_out_answers_are_refits() {
        let (x, y) = (points(24), targets(24));
        let kernel = gram(&x, &x, &[1.0]);
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
        let kernel = gram(&x, &x, &[1.0]);
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
        let kernel = gram(&x, &x, &[1.0]);
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
        let (small, wide) = (gram(&centres, &centres, &[1.0]), gram(&x, &centres, &[1.0]));
        let all: Vec<usize> = (0..60).collect();
        let fitted = KernelRidge::new(small, wide, &all).fit(&all, &y, &[0.01]).unwrap();
        assert!(fitted.error < 0.05, "{}", fitted.error);
        let broken = DMatrix::from_element(60, 1, f64::NAN);
        let wide = gram(&x, &x, &[1.0]);
        assert!(KernelRidge::new(wide.clone(), wide, &all).fit(&all, &broken, &[0.1]).is_none());
    }
}
