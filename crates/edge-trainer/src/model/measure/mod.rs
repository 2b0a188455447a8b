//! The measurements of the small image encoder: natural-scene statistics, the energies of a cosine transform, and the responses of
//! filters that were learned from pictures without their scores. Three blocks of numbers; nothing here is fitted to scores.

mod codes;
mod spectrum;
mod statistics;
#[cfg(test)]
mod tests;

use super::ops::{FixedConv, TensorOps};

pub use codes::{CODE_PATCH_PX, CodeLevel, Codebook, contrast_floor};
pub use spectrum::SPECTRUM;
pub use statistics::STATISTICS;

/// The smallest side of an input that leaves something to measure at every scale.
pub const MIN_SIZE_PX: u32 = 64;
/// Subtracted from every channel of a picture's pixels, on the scale 0..1.
pub const MEAN: f32 = 0.5;
/// Divides the channels after the subtraction.
pub const STD: f32 = 0.25;
/// Number of scales: native, half and quarter size.
pub const SCALES: usize = 3;
/// Number of blocks of measurements.
pub const BLOCKS: usize = 3;

/// About the variance of rounding to 8 bits. Variances below it are noise.
const ROUNDING: f32 = 1e-6;
/// Weights of red, green and blue in grey (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Measures `pixel_values [N, 3, S, S]`, normalised by [`MEAN`] and [`STD`]; `side_px` is S. Returns three blocks `[N, F]`:
/// [`STATISTICS`] numbers, [`Codebook::measurements`] numbers and [`SPECTRUM`] numbers.
pub fn measure<O: TensorOps>(
    ops: &mut O,
    pixel_values: O::Tensor<4>,
    side_px: usize,
    codebook: &Codebook,
) -> [O::Tensor<2>; BLOCKS] {
    let [native, half, quarter] = patch_planes(ops, pixel_values.clone());
    let half_pixels = halve(ops, pixel_values);
    let half_colours = ops.conv(half_pixels, &colours_kernel());

    let (spectrum, kurtosis) = spectrum::measure(ops, native.clone());
    let mut rows = statistics::measure(ops, half_colours, half.clone(), side_px / 2);
    rows.push(kurtosis);
    let statistics = ops.concat(rows, 1);
    let codes = codes::measure(ops, [native, half, quarter], side_px, codebook);
    [statistics, codes, spectrum]
}

/// The planes that codebook patches are cut from, `[N, 3, S, S]` at every scale: grey, red minus green, and yellow minus blue.
pub fn patch_planes<O: TensorOps>(ops: &mut O, pixel_values: O::Tensor<4>) -> [O::Tensor<4>; SCALES] {
    let native = ops.conv(pixel_values, &planes_kernel());
    let half = halve(ops, native.clone());
    let quarter = halve(ops, half.clone());
    [native, half, quarter]
}

/// Half the size: the mean of each 2 x 2 pixels, for three channels.
fn halve<O: TensorOps>(ops: &mut O, x: O::Tensor<4>) -> O::Tensor<4> {
    ops.conv(x, &FixedConv::without_bias(vec![0.25; 12], 3, 2, 2, 3))
}

/// Undoes the normalisation: R, G, B on the scale 0..1.
fn colours_kernel() -> FixedConv {
    let mut weights = vec![0.0; 9];
    (0..3).for_each(|c| weights[c * 4] = STD);
    FixedConv { weights, bias: vec![MEAN; 3], side: 1, stride: 1, groups: 1 }
}

/// Undoes the normalisation and computes grey, red minus green, and yellow minus blue.
fn planes_kernel() -> FixedConv {
    let planes = [LUMA, [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]];
    let weights = planes.as_flattened().iter().map(|w| w * STD).collect();
    let bias = planes.iter().map(|p| p.iter().sum::<f32>() * MEAN).collect();
    FixedConv { weights, bias, side: 1, stride: 1, groups: 1 }
}

/// `log(x + floor)`.
fn log_above<O: TensorOps>(ops: &mut O, x: O::Tensor<2>, floor: f32) -> O::Tensor<2> {
    let x = ops.affine(x, 1.0, floor);
    ops.log(x)
}

/// `log(mean + floor)` of every map.
fn log_mean<O: TensorOps>(ops: &mut O, x: O::Tensor<4>, floor: f32) -> O::Tensor<2> {
    let mean = ops.mean_of_maps(x);
    log_above(ops, mean, floor)
}
