//! The fixed part of the image encoder: what is measured of an image without learning. It makes the input of the learned
//! convolutions (colours beside locally normalised ones) and a row of natural-scene statistics.
//!
//! Sources: MSCN coefficients and the moments of their neighbour products: Mittal, Moorthy, Bovik, "No-reference image
//! quality assessment in the spatial domain" (BRISQUE), IEEE TIP 2012. Colourfulness: Hasler, Süsstrunk, "Measuring
//! colourfulness in natural images", 2003. The spectrum is the energy of an orthonormal 16 x 16 cosine transform
//! (Ahmed, Natarajan, Rao, 1974), gathered in rings of equal spatial frequency.

use std::f32::consts::PI;

use super::maps::{Kernel, MapOps};
use crate::image_input::InputRule;

/// Number of statistics.
pub const STATISTICS: usize = SCALES * (MSCN_STATISTICS + EDGE_STATISTICS) + 3 * BANDS + COLOUR_STATISTICS;
/// Channels of the learned convolutions' input: R, G, B and their MSCN coefficients.
pub const CONV_CHANNELS: usize = 6;
/// The smallest side of an input that leaves something to measure at every scale.
pub const MIN_SIZE_PX: u32 = 64;

const SCALES: usize = 3;
const MSCN_STATISTICS: usize = 21;
const EDGE_STATISTICS: usize = 9;
const COLOUR_STATISTICS: usize = 19;
/// Side of the cosine transform's blocks.
const BLOCK: usize = 16;
/// Rings of spatial frequency below the corners.
const RINGS: usize = 20;
/// The rings, the corners, and the horizontal and the vertical half of the high frequencies.
const BANDS: usize = RINGS + 3;
/// Pixels that the 7 x 7 window takes from each border.
const MARGIN: usize = 3;
/// One step of an 8-bit value.
const STEP: f32 = 1.0 / 255.0;
/// About the variance of rounding to 8 bits: below it, nothing is measured.
const ROUNDING: f32 = 1e-6;
/// ITU-R BT.601.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// What the fixed part hands to the learned one.
#[derive(Debug, Clone)]
pub struct Prepared<M, R> {
    /// `[N, 6, S - 6, S - 6]`.
    pub conv_input: M,
    /// `[N, STATISTICS]`, not standardised.
    pub statistics: R,
}

/// Measures `pixel_values [N, 3, S, S]`, normalised by `rule`.
pub fn prepare<O: MapOps>(ops: &mut O, pixel_values: &O::Map, rule: &InputRule) -> Prepared<O::Map, O::Row> {
    let planes = ops.conv(pixel_values, &planes_kernel(rule));
    let blur = blur_kernel(4);
    let mean = ops.conv(&planes, &blur);
    let sigma = local_deviation(ops, &planes, &mean, &blur);
    let inner = ops.crop(&planes, [MARGIN; 4]);
    let detail = ops.sub(&inner, &mean);
    let divisor = ops.affine(&sigma, 1.0, STEP);
    let mscn = ops.div(&detail, &divisor);

    let rgb = ops.channels(&planes, 0, 3);
    let grey = ops.channels(&planes, 3, 4);
    let mut rows = Vec::new();
    let (grey_mscn, grey_sigma) = (ops.channels(&mscn, 3, 4), ops.channels(&sigma, 3, 4));
    mscn_statistics(ops, &grey_mscn, &grey_sigma, &mut rows);
    edge_statistics(ops, &grey, &mut rows);
    coarser_statistics(ops, &grey, &mut rows);
    let opponents = ops.conv(&rgb, &opponent_kernel());
    spectrum(ops, &grey, &mut rows);
    for channel in 0..2 {
        let plane = ops.channels(&opponents, channel, channel + 1);
        spectrum(ops, &plane, &mut rows);
    }
    colour_statistics(ops, &rgb, &grey, &opponents, &mut rows);
    correlations(ops, &rgb, 1e-4, &mut rows);
    let rgb_detail = ops.channels(&detail, 0, 3);
    correlations(ops, &rgb_detail, 1e-5, &mut rows);

    let inner_rgb = ops.channels(&inner, 0, 3);
    let centred = ops.affine(&inner_rgb, 4.0, -2.0);
    let rgb_mscn = ops.channels(&mscn, 0, 3);
    Prepared { conv_input: ops.stack(&[centred, rgb_mscn]), statistics: ops.row_stack(&rows) }
}

/// MSCN and edge statistics of the grey image at half and at quarter size.
fn coarser_statistics<O: MapOps>(ops: &mut O, grey: &O::Map, rows: &mut Vec<O::Row>) {
    let half = Kernel::new(vec![0.25; 4], 1, 2, 2, 1);
    let blur = blur_kernel(1);
    let mut level = grey.clone();
    for _ in 1..SCALES {
        level = ops.conv(&level, &half);
        let mean = ops.conv(&level, &blur);
        let sigma = local_deviation(ops, &level, &mean, &blur);
        let inner = ops.crop(&level, [MARGIN; 4]);
        let detail = ops.sub(&inner, &mean);
        let divisor = ops.affine(&sigma, 1.0, STEP);
        let mscn = ops.div(&detail, &divisor);
        mscn_statistics(ops, &mscn, &sigma, rows);
        edge_statistics(ops, &level, rows);
    }
}

/// The deviation in the window around each pixel.
fn local_deviation<O: MapOps>(ops: &mut O, x: &O::Map, mean: &O::Map, blur: &Kernel) -> O::Map {
    let square = ops.mul(x, x);
    let mean_square = ops.conv(&square, blur);
    let square_mean = ops.mul(mean, mean);
    let variance = ops.sub(&mean_square, &square_mean);
    let variance = ops.relu(&variance);
    let variance = ops.affine(&variance, 1.0, ROUNDING);
    ops.sqrt(&variance)
}

fn log_row<O: MapOps>(ops: &mut O, x: &O::Row, floor: f32) -> O::Row {
    let x = ops.row_affine(x, 1.0, floor);
    ops.row_log(&x)
}

fn log_mean<O: MapOps>(ops: &mut O, x: &O::Map, floor: f32) -> O::Row {
    let mean = ops.mean(x);
    log_row(ops, &mean, floor)
}

/// `log E|x|`, `log E x^2` and the log kurtosis `log E x^4 - 2 log E x^2` of every channel.
fn moments<O: MapOps>(ops: &mut O, x: &O::Map, rows: &mut Vec<O::Row>) {
    let magnitude = ops.abs(x);
    rows.push(log_mean(ops, &magnitude, 1e-4));
    let square = ops.mul(x, x);
    let second = log_mean(ops, &square, 1e-5);
    let fourth = ops.mul(&square, &square);
    let fourth = log_mean(ops, &fourth, 1e-7);
    let twice = ops.row_affine(&second, 2.0, 0.0);
    rows.push(second);
    rows.push(ops.row_sub(&fourth, &twice));
}

/// Moments of the coefficients, of the local deviation and of the products of neighbours in four directions, which tell
/// the two sides of an asymmetric distribution apart.
fn mscn_statistics<O: MapOps>(ops: &mut O, mscn: &O::Map, sigma: &O::Map, rows: &mut Vec<O::Row>) {
    moments(ops, mscn, rows);
    rows.push(log_mean(ops, sigma, 1e-4));
    let variance = ops.mul(sigma, sigma);
    rows.push(log_mean(ops, &variance, 1e-5));
    let pairs = [
        ([0, 0, 0, 1], [0, 0, 1, 0]),
        ([0, 1, 0, 0], [1, 0, 0, 0]),
        ([0, 1, 0, 1], [1, 0, 1, 0]),
        ([0, 1, 1, 0], [1, 0, 0, 1]),
    ];
    for (first, second) in pairs {
        let (a, b) = (ops.crop(mscn, first), ops.crop(mscn, second));
        let product = ops.mul(&a, &b);
        rows.push(ops.mean(&product));
        let magnitude = ops.abs(&product);
        rows.push(log_mean(ops, &magnitude, 1e-4));
        for sign in [1.0, -1.0] {
            let side = ops.affine(&product, sign, 0.0);
            let side = ops.relu(&side);
            let square = ops.mul(&side, &side);
            rows.push(log_mean(ops, &square, 1e-5));
        }
    }
}

/// Moments of both derivatives and of the Laplacian.
fn edge_statistics<O: MapOps>(ops: &mut O, grey: &O::Map, rows: &mut Vec<O::Row>) {
    #[rustfmt::skip]
    let weights = vec![
        0.0, 0.0, 0.0, -2.0, 0.0, 2.0, 0.0, 0.0, 0.0,
        0.0, -2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0,
        0.0, 1.0, 0.0, 1.0, -4.0, 1.0, 0.0, 1.0, 0.0,
    ];
    let maps = ops.conv(grey, &Kernel::new(weights, 3, 3, 1, 1));
    moments(ops, &maps, rows);
}

/// Log energy per band of the cosine transform of one plane.
fn spectrum<O: MapOps>(ops: &mut O, plane: &O::Map, rows: &mut Vec<O::Row>) {
    let coefficients = ops.conv(plane, &cosine_kernel());
    let energy = ops.mul(&coefficients, &coefficients);
    let energy = ops.mean(&energy);
    let bands = ops.row_matmul(&energy, &band_matrix(), BANDS);
    rows.push(log_row(ops, &bands, ROUNDING));
}

/// Mean and deviation of every channel.
fn mean_and_deviation<O: MapOps>(ops: &mut O, x: &O::Map) -> (O::Row, O::Row) {
    let mean = ops.mean(x);
    let square = ops.mul(x, x);
    let mean_square = ops.mean(&square);
    let square_mean = ops.row_mul(&mean, &mean);
    let variance = ops.row_sub(&mean_square, &square_mean);
    let variance = ops.row_relu(&variance);
    let variance = ops.row_affine(&variance, 1.0, ROUNDING);
    (mean, ops.row_sqrt(&variance))
}

/// Means and deviations of grey, opponent colours, saturation and value, colourfulness, and the shares that are clipped.
fn colour_statistics<O: MapOps>(ops: &mut O, rgb: &O::Map, grey: &O::Map, opponents: &O::Map, rows: &mut Vec<O::Row>) {
    let (grey_mean, grey_deviation) = mean_and_deviation(ops, grey);
    let (mean, deviation) = mean_and_deviation(ops, opponents);
    let deviation_length = length_of_pair(ops, &deviation);
    let mean_length = length_of_pair(ops, &mean);
    let mean_length = ops.row_affine(&mean_length, 0.3, 0.0);
    let colourfulness = ops.row_add(&deviation_length, &mean_length);
    rows.extend([grey_mean, grey_deviation, mean, deviation, colourfulness]);

    let value = ops.max_channel(rgb);
    let negative = ops.affine(rgb, -1.0, 0.0);
    let negative_least = ops.max_channel(&negative);
    let chroma = ops.add(&value, &negative_least);
    let divisor = ops.affine(&value, 1.0, STEP);
    let saturation = ops.div(&chroma, &divisor);
    for map in [saturation, value] {
        let (mean, deviation) = mean_and_deviation(ops, &map);
        rows.extend([mean, deviation]);
    }
    for (scale, shift) in [(-50.0, 3.0), (50.0, -47.0)] {
        let share = ops.affine(grey, scale, shift);
        let share = ops.clip(&share, 0.0, 1.0);
        rows.push(ops.mean(&share));
    }
}

/// Euclidean length of the two columns.
fn length_of_pair<O: MapOps>(ops: &mut O, pair: &O::Row) -> O::Row {
    let square = ops.row_mul(pair, pair);
    let sum = ops.row_matmul(&square, &[1.0, 1.0], 1);
    let sum = ops.row_affine(&sum, 1.0, ROUNDING);
    ops.row_sqrt(&sum)
}

/// Pearson correlation of each two of three channels; `floor` is the variance below which it fades to zero.
fn correlations<O: MapOps>(ops: &mut O, x: &O::Map, floor: f32, rows: &mut Vec<O::Row>) {
    let mean = ops.mean(x);
    let square = ops.mul(x, x);
    let mean_square = ops.mean(&square);
    let square_mean = ops.row_mul(&mean, &mean);
    let variance = ops.row_sub(&mean_square, &square_mean);
    let variance = ops.row_relu(&variance);
    let variance = ops.row_affine(&variance, 1.0, floor);
    for (i, j) in [(0, 1), (1, 2), (0, 2)] {
        let (a, b) = (ops.channels(x, i, i + 1), ops.channels(x, j, j + 1));
        let product = ops.mul(&a, &b);
        let product = ops.mean(&product);
        let (mean_a, mean_b) = (ops.columns(&mean, i, i + 1), ops.columns(&mean, j, j + 1));
        let mean_product = ops.row_mul(&mean_a, &mean_b);
        let covariance = ops.row_sub(&product, &mean_product);
        let (var_a, var_b) = (ops.columns(&variance, i, i + 1), ops.columns(&variance, j, j + 1));
        let scale = ops.row_mul(&var_a, &var_b);
        let scale = ops.row_sqrt(&scale);
        rows.push(ops.row_div(&covariance, &scale));
    }
}

/// Undoes the normalisation and adds grey: R, G, B, Y on the scale 0..1.
fn planes_kernel(rule: &InputRule) -> Kernel {
    let mut weights = vec![0.0; 12];
    let mut bias = vec![0.0; 4];
    for c in 0..3 {
        weights[c * 3 + c] = rule.std[c];
        weights[9 + c] = LUMA[c] * rule.std[c];
        bias[c] = rule.mean[c];
        bias[3] += LUMA[c] * rule.mean[c];
    }
    Kernel { weights, bias, side: 1, stride: 1, groups: 1 }
}

/// Red minus green, and yellow minus blue.
fn opponent_kernel() -> Kernel {
    Kernel::new(vec![1.0, -1.0, 0.0, 0.5, 0.5, -1.0], 2, 1, 1, 1)
}

/// The Gaussian window of BRISQUE, 7 x 7 with a deviation of 7/6, for each channel alone.
fn blur_kernel(channels: usize) -> Kernel {
    let side = 2 * MARGIN + 1;
    let line: Vec<f32> = (0..side)
        .map(|i| {
            let d = (i as f32 - MARGIN as f32) / (7.0 / 6.0);
            (-0.5 * d * d).exp()
        })
        .collect();
    let sum: f32 = line.iter().sum();
    let window: Vec<f32> = line.iter().flat_map(|a| line.iter().map(move |b| a * b / (sum * sum))).collect();
    Kernel::new(window.repeat(channels), channels, side, 1, channels)
}

/// The basis of the orthonormal cosine transform without its constant, one filter per frequency (v, u).
fn cosine_kernel() -> Kernel {
    let n = BLOCK as f32;
    let basis = |k: usize, i: usize| {
        let scale = if k == 0 { (1.0 / n).sqrt() } else { (2.0 / n).sqrt() };
        scale * (PI * (i as f32 + 0.5) * k as f32 / n).cos()
    };
    let mut weights = Vec::with_capacity((BLOCK * BLOCK - 1) * BLOCK * BLOCK);
    for (v, u) in frequencies() {
        for y in 0..BLOCK {
            for x in 0..BLOCK {
                weights.push(basis(v, y) * basis(u, x));
            }
        }
    }
    Kernel::new(weights, BLOCK * BLOCK - 1, BLOCK, BLOCK, 1)
}

fn frequencies() -> impl Iterator<Item = (usize, usize)> {
    (0..BLOCK).flat_map(|v| (0..BLOCK).map(move |u| (v, u))).skip(1)
}

/// Row-major `[255, BANDS]`: each column averages the frequencies of its band.
fn band_matrix() -> Vec<f32> {
    let mut matrix = vec![0.0; (BLOCK * BLOCK - 1) * BANDS];
    let highest = BLOCK as f32 - 1.0;
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
    use burn::backend::Flex;
    use burn::tensor::{Distribution, Tensor};

    use super::*;
    use crate::image_input::ResizeFilter;
    use crate::train::model::maps::Compute;

    fn rule() -> InputRule {
        InputRule {
            size_px: 64,
            resize_short_px: 64,
            filter: ResizeFilter::Bicubic,
            mean: [0.4, 0.5, 0.6],
            std: [0.25, 0.25, 0.3],
        }
    }

    #[test]
    fn the_row_has_the_announced_length_and_is_finite_even_on_a_blank_image() {
        let device = Default::default();
        let blank = Tensor::<Flex, 4>::zeros([1, 3, 64, 64], &device);
        let noise = Tensor::<Flex, 4>::random([1, 3, 64, 64], Distribution::Uniform(-1.0, 1.0), &device);
        let out = prepare(&mut Compute::new(device), &Tensor::cat(vec![blank, noise], 0), &rule());
        assert_eq!(out.conv_input.dims(), [2, CONV_CHANNELS, 58, 58]);
        assert_eq!(out.statistics.dims(), [2, STATISTICS]);
        let values = out.statistics.into_data().to_vec::<f32>().unwrap();
        assert!(values.iter().all(|v| v.is_finite()));
    }

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
        let kernel = cosine_kernel();
        let filter = |i: usize| &kernel.weights[i * 256..(i + 1) * 256];
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        assert!((dot(filter(17), filter(17)) - 1.0).abs() < 1e-5);
        assert!(dot(filter(17), filter(40)).abs() < 1e-5);
    }
}
