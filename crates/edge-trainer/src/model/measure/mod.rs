//! The measurements of the small image encoder: natural-scene statistics, the energies of a cosine transform, and the responses of
//! filters that were learned from pictures without their scores. Three blocks of numbers; nothing here is fitted to scores.

mod codes;
mod logarithm;
mod planes;
mod spectrum;
mod statistics;
#[cfg(test)]
mod tests;

use super::ops::TensorOps;

pub use codes::{CODE_PATCH_PX, CodeLevel, Codebook, contrast_floor};
pub use planes::{MEAN, SCALES, STD, patch_planes};
use planes::{colours_kernel, halve};

/// Smallest side of an input, in pixels, that leaves something to measure at native, half and quarter size.
pub const MIN_SIZE_PX: u32 = 64;
/// Number of blocks of measurements.
pub const BLOCKS: usize = 3;

/// Measures `pixel_values [N, 3, S, S]`, normalised by [`MEAN`] and [`STD`]; `side_px` is S. Returns three blocks `[N, F]`:
/// 80 statistics, the responses of the codebook (two for each filter at each scale), and 765 energies of the spectrum.
pub fn measure<O: TensorOps>(
    ops: &mut O,
    pixel_values: O::Tensor<4>,
    side_px: usize,
    codebook: &Codebook,
) -> [O::Tensor<2>; BLOCKS] {
    let [native, half, quarter] = patch_planes(ops, pixel_values.clone());
    let half_pixels = halve(ops, pixel_values);
    let half_colours = ops.conv(half_pixels, &colours_kernel());

    let (spectrum, kurtosis) = spectrum::measure(ops, native.clone(), side_px);
    let mut rows = statistics::measure(ops, half_colours, half.clone(), side_px / 2);
    rows.push(kurtosis);
    let statistics = ops.concat(rows, 1);
    let codes = codes::measure(ops, [native, half, quarter], side_px, codebook);
    [statistics, codes, spectrum]
}
