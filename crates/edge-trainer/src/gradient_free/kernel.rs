//! The kernel between rows of components.

use nalgebra::DMatrix;
use rayon::prelude::*;

/// Returns the Gram matrix `[A, B]` between the rows of `a` and the rows of `b`. The kernel is `sum over blocks of
/// share exp(-r / length)`, where `r` is the root mean square difference of two rows within a block. This is a Matern
/// kernel of order 1/2 (Rasmussen, Williams, "Gaussian processes for machine learning", 2006, section 4.2). `a` and `b`
/// hold one matrix per block, `[A, columns]` and `[B, columns]`; `shares` holds the share of each block. `length` is the
/// distance at which a block's part falls to `1 / e`, in standard deviations of the components.
///
/// # Panics
/// If the numbers of blocks or of their columns differ.
pub fn gram(a: &[DMatrix<f64>], b: &[DMatrix<f64>], shares: &[f64], length: f64) -> DMatrix<f64> {
    assert!(a.len() == b.len() && a.len() == shares.len(), "both sides must have the same blocks");
    let (rows, columns) = (a.first().map_or(0, DMatrix::nrows), b.first().map_or(0, DMatrix::nrows));
    let mut sum: DMatrix<f64> = DMatrix::zeros(rows, columns);
    for ((a, b), share) in a.iter().zip(b).zip(shares).filter(|(_, share)| **share > 0.0) {
        let lengths = |m: &DMatrix<f64>| m.row_iter().map(|r| r.norm_squared()).collect::<Vec<_>>();
        let (of_a, of_b) = (lengths(a), lengths(b));
        let products = a * b.transpose();
        let count = a.ncols().max(1) as f64;
        let columns = sum.as_mut_slice().par_chunks_mut(rows.max(1)).zip(products.as_slice().par_chunks(rows.max(1)));
        columns.zip(&of_b).for_each(|((sum, products), of_b)| {
            for ((sum, product), of_a) in sum.iter_mut().zip(products).zip(&of_a) {
                let square = (of_a + of_b - 2.0 * product).max(0.0);
                *sum += share * (-(square / count).sqrt() / length).exp();
            }
        });
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_one_at_home_and_falls_with_the_distance() {
        let a = DMatrix::from_row_slice(2, 2, &[0.0, 0.0, 3.0, 4.0]);
        let b = DMatrix::from_row_slice(2, 1, &[1.0, 1.0]);
        let k = gram(&[a.clone(), b.clone()], &[a, b], &[0.75, 0.25], 4.0);
        assert!((k[(0, 0)] - 1.0).abs() < 1e-12 && (k[(1, 1)] - 1.0).abs() < 1e-12);
        let expected = 0.75 * (-(12.5f64).sqrt() / 4.0).exp() + 0.25;
        assert!((k[(0, 1)] - expected).abs() < 1e-12 && (k[(1, 0)] - expected).abs() < 1e-12);
    }
}
