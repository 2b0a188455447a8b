//! Triangular and symmetric matrices. The recursions over halves leave nearly all of the work to matrix products, which run on all
//! processors, and skip the half of a matrix that is known.

use nalgebra::{Cholesky, DMatrix, DMatrixView};

/// Largest number of rows of a matrix that is not divided.
const SMALL: usize = 64;

/// Returns the inverse of the Cholesky factor: the inverse of the lower triangular L with `L L' = matrix`. `None` if the matrix is not
/// positive definite. A matrix `[[A, B'], [B, C]]` has the factor `[[L1, 0], [B L1^-T, L2]]`, where `L2 L2' = C - (B L1^-T)(B L1^-T)'`.
pub fn inverse_factor(matrix: &DMatrix<f64>) -> Option<DMatrix<f64>> {
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

/// Returns the product of a lower triangular matrix `[M, M]` and a matrix `[M, N]`.
pub fn lower_product(lower: DMatrixView<'_, f64>, right: DMatrixView<'_, f64>) -> DMatrix<f64> {
    let (side, columns) = (lower.nrows(), right.ncols());
    if side <= SMALL {
        return lower * right;
    }
    let half = side / 2;
    let rest = side - half;
    let (above, below) = (right.rows(0, half), right.rows(half, rest));
    let mut product = DMatrix::zeros(side, columns);
    product.rows_mut(0, half).copy_from(&lower_product(lower.view((0, 0), (half, half)), above));
    let of_below = lower_product(lower.view((half, half), (rest, rest)), below);
    product.rows_mut(half, rest).copy_from(&(lower.view((half, 0), (rest, half)) * above + of_below));
    product
}

/// Returns `rows rows'`, a symmetric matrix, for `rows [M, N]`.
pub fn product_with_itself(rows: DMatrixView<'_, f64>) -> DMatrix<f64> {
    let side = rows.nrows();
    if side <= SMALL {
        return rows * rows.transpose();
    }
    let half = side / 2;
    let rest = side - half;
    let (above, below) = (rows.rows(0, half), rows.rows(half, rest));
    let corner = below * above.transpose();
    let mut product = DMatrix::zeros(side, side);
    product.view_mut((0, 0), (half, half)).copy_from(&product_with_itself(above));
    product.view_mut((half, half), (rest, rest)).copy_from(&product_with_itself(below));
    product.view_mut((0, half), (half, rest)).copy_from(&corner.transpose());
    product.view_mut((half, 0), (rest, half)).copy_from(&corner);
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(rows: usize, columns: usize) -> DMatrix<f64> {
        DMatrix::from_fn(rows, columns, |i, j| ((i * 31 + j * 17) as f64 * 0.37).sin())
    }

    #[test]
    fn the_inverse_of_the_factor_makes_the_matrix_one() {
        for side in [1, 63, 64, 65, 131] {
            let root = wave(side, side);
            let matrix = &root * root.transpose() + DMatrix::identity(side, side) * 0.5;
            let factor = inverse_factor(&matrix).unwrap();
            let off = (&factor * matrix * factor.transpose() - DMatrix::<f64>::identity(side, side)).amax();
            assert!(off < 1e-9, "{side}: {off}");
            assert!((0..side).all(|i| (i + 1..side).all(|j| factor[(i, j)] == 0.0)));
        }
        let mut indefinite = DMatrix::identity(100, 100);
        indefinite[(70, 70)] = -1.0;
        assert!(inverse_factor(&indefinite).is_none());
        assert!(inverse_factor(&DMatrix::from_element(80, 80, f64::NAN)).is_none());
    }

    #[test]
    fn half_of_the_work_gives_the_whole_product() {
        for (side, columns) in [(1, 1), (64, 3), (65, 70), (200, 33)] {
            let (lower, right) = (wave(side, side).lower_triangle(), wave(side, columns));
            let off = (lower_product(lower.as_view(), right.as_view()) - &lower * &right).amax();
            assert!(off < 1e-9, "{side} {columns}: {off}");
            let off = (product_with_itself(right.as_view()) - &right * right.transpose()).amax();
            assert!(off < 1e-9, "{side} {columns}: {off}");
        }
    }
}
