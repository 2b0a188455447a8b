//! The spectrum: energies of an orthonormal cosine transform (Ahmed, Natarajan, Rao, "Discrete cosine transform", IEEE Trans.
//! Computers 1974) of blocks of 16 x 16 pixels.

use std::f32::consts::PI;

use super::logarithm::{ROUNDING, log_above};
use crate::model::ops::{FixedConv, TensorOps};

/// Side of the transform's blocks, in pixels.
const SIDE: usize = 16;
/// Number of the transform's frequencies; the constant is left out.
const FREQUENCIES: usize = SIDE * SIDE - 1;
/// Number of rings of equal width in spatial frequency. The frequencies beyond the last ring are the corners.
const RINGS: usize = 20;
/// Number of bands: the rings, the corners, the mainly horizontal high frequencies and the mainly vertical ones.
const BANDS: usize = RINGS + 3;

/// Measures three planes `[N, 3, S, S]`; `side_px` is S. Returns the log energies of all planes, `[N, 3 * FREQUENCIES]`, and the peakedness
/// of the first plane's coefficients in each band, `[N, BANDS]`. Peakedness is the log of the mean magnitude minus half the log of the mean
/// energy.
pub(super) fn measure<O: TensorOps>(ops: &mut O, planes: O::Tensor<4>, side_px: usize) -> (O::Tensor<2>, O::Tensor<2>) {
    let bands = band_matrix();
    let mut energies = Vec::with_capacity(3);
    let mut kurtosis = None;
    for channel in 0..3 {
        let plane = ops.channels(planes.clone(), channel..channel + 1);
        let coefficients = coefficients(ops, plane, side_px);
        let square = ops.mul(coefficients.clone(), coefficients.clone());
        let energy = ops.mean_of_maps(square);
        if channel == 0 {
            let magnitude = ops.abs(coefficients);
            let magnitude = ops.mean_of_maps(magnitude);
            let magnitude = ops.matmul_constant(magnitude, &bands, BANDS);
            let magnitude = log_above(ops, magnitude, 1e-3);
            let energy = ops.matmul_constant(energy.clone(), &bands, BANDS);
            let energy = log_above(ops, energy, ROUNDING);
            let root = ops.affine(energy, 0.5, 0.0);
            kurtosis = Some(ops.sub(magnitude, root));
        }
        energies.push(log_above(ops, energy, ROUNDING));
    }
    let energies = ops.concat(energies, 1);
    (energies.clone(), kurtosis.unwrap_or(energies))
}

/// The coefficients of each block, without the constant: `[N, 1, S, S] -> [N, FREQUENCIES, S / SIDE, S / SIDE]`. The columns of the blocks
/// are transformed first, then the lines of the results; one transform of whole blocks takes eight times as many multiplications.
fn coefficients<O: TensorOps>(ops: &mut O, plane: O::Tensor<4>, side_px: usize) -> O::Tensor<4> {
    let blocks = (side_px / SIDE) as i64;
    let columns = ops.conv(plane, &FixedConv::of_blocks(cosine_basis(), SIDE, [SIDE, 1]));
    let columns = ops.reshape(columns, [-1, 1, blocks, side_px as i64]);
    let both = ops.conv(columns, &FixedConv::of_blocks(cosine_basis(), SIDE, [1, SIDE]));
    let both = ops.reshape(both, [-1, (SIDE * SIDE) as i64, blocks, blocks]);
    ops.channels(both, 1..SIDE * SIDE)
}

/// Row-major `[frequency, place]`.
fn cosine_basis() -> Vec<f32> {
    let n = SIDE as f32;
    let basis = |k: usize, i: usize| {
        let scale = if k == 0 { (1.0 / n).sqrt() } else { (2.0 / n).sqrt() };
        scale * (PI * (i as f32 + 0.5) * k as f32 / n).cos()
    };
    (0..SIDE).flat_map(|k| (0..SIDE).map(move |i| basis(k, i))).collect()
}

/// The frequencies (down, across) in the order of the coefficients.
fn frequencies() -> impl Iterator<Item = (usize, usize)> {
    (0..SIDE).flat_map(|v| (0..SIDE).map(move |u| (v, u))).skip(1)
}

/// Row-major `[FREQUENCIES, BANDS]`: each column averages the frequencies of its band.
fn band_matrix() -> Vec<f32> {
    let mut matrix = vec![0.0; FREQUENCIES * BANDS];
    let highest = SIDE as f32 - 1.0;
    for (row, (v, u)) in frequencies().enumerate() {
        let radius = ((u * u + v * v) as f32).sqrt();
        let ring = ((radius - 0.5) * RINGS as f32 / highest) as usize;
        matrix[row * BANDS + ring.min(RINGS)] = 1.0;
        if radius > highest / 3.0 {
            if u > 2 * v {
                matrix[row * BANDS + RINGS + 1] = 1.0;
            } else if v > 2 * u {
                matrix[row * BANDS + RINGS + 2] = 1.0;
            }
        }
    }
    for band in 0..BANDS {
        let members: f32 = matrix.iter().skip(band).step_by(BANDS).sum();
        matrix.iter_mut().skip(band).step_by(BANDS).for_each(|w| *w /= members.max(1.0));
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_band_has_members_and_averages_them() {
        let matrix = band_matrix();
        for band in 0..BANDS {
            let sum: f32 = matrix.iter().skip(band).step_by(BANDS).sum();
            assert!((sum - 1.0).abs() < 1e-5, "band {band}: {sum}");
        }
    }

    #[test]
    fn the_cosine_basis_is_orthonormal() {
        let basis = cosine_basis();
        let line = |k: usize| &basis[k * SIDE..(k + 1) * SIDE];
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        assert!((dot(line(0), line(0)) - 1.0).abs() < 1e-5 && (dot(line(7), line(7)) - 1.0).abs() < 1e-5);
        assert!(dot(line(0), line(7)).abs() < 1e-5 && dot(line(7), line(12)).abs() < 1e-5);
    }
}
