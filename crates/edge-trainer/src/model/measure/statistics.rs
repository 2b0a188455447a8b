//! Natural-scene statistics of the picture at half its size.
//!
//! Sources: MSCN coefficients and the moments of their neighbour products: Mittal, Moorthy, Bovik, "No-reference image
//! quality assessment in the spatial domain" (BRISQUE), IEEE TIP 2012. Colourfulness: Hasler, Süsstrunk, "Measuring
//! colourfulness in natural images", 2003.

use super::spectrum::BANDS;
use super::{ROUNDING, log_mean};
use crate::model::maps::{Kernel, MapOps};

/// Numbers measured.
pub const STATISTICS: usize = 21 + 5 + 13 + 2 * SHARES + BANDS;

/// Steps of the histograms.
const SHARES: usize = 9;
/// Pixels that the 7 x 7 window takes from each border.
const MARGIN: usize = 3;
/// One step of an 8-bit value.
const STEP: f32 = 1.0 / 255.0;
/// Cells per side of the grid that says where the detail is.
const CELLS: usize = 4;

/// Measures colours `[N, 3, S, S]` and their planes (grey and two opponents); `side_px` is S.
pub(super) fn measure<O: MapOps>(ops: &mut O, colours: &O::Map, planes: &O::Map, side_px: usize) -> Vec<O::Row> {
    let grey = ops.channels(planes, 0, 1);
    let opponents = ops.channels(planes, 1, 3);
    let (mscn, sigma) = normalised(ops, &grey);
    let mut rows = Vec::new();
    mscn_statistics(ops, &mscn, &sigma, &mut rows);
    place_statistics(ops, &sigma, (side_px - 2 * MARGIN) / CELLS, &mut rows);
    colour_statistics(ops, colours, &grey, &opponents, &mut rows);
    rows
}

/// Mean-subtracted, contrast-normalised coefficients, and the local deviation they were divided by.
fn normalised<O: MapOps>(ops: &mut O, x: &O::Map) -> (O::Map, O::Map) {
    let blur = blur_kernel();
    let mean = ops.conv(x, &blur);
    let square = ops.mul(x, x);
    let mean_square = ops.conv(&square, &blur);
    let square_mean = ops.mul(&mean, &mean);
    let variance = ops.sub(&mean_square, &square_mean);
    let variance = ops.relu(&variance);
    let variance = ops.affine(&variance, 1.0, ROUNDING);
    let sigma = ops.sqrt(&variance);
    let inner = ops.crop(x, [MARGIN; 4]);
    let detail = ops.sub(&inner, &mean);
    let divisor = ops.affine(&sigma, 1.0, STEP);
    (ops.div(&detail, &divisor), sigma)
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

/// Where the detail is: the logarithm of the local deviation in cells of a grid, as spread, centre against all and top against
/// bottom, and its mean and deviation over the picture.
fn place_statistics<O: MapOps>(ops: &mut O, sigma: &O::Map, cell_px: usize, rows: &mut Vec<O::Row>) {
    let log = ops.affine(sigma, 1.0, 1e-3);
    let log = ops.log(&log);
    let mean = 1.0 / (cell_px * cell_px) as f32;
    let cells = ops.conv(&log, &Kernel::new(vec![mean; cell_px * cell_px], 1, cell_px, cell_px, 1));
    let (all, spread) = mean_and_deviation(ops, &cells);
    rows.push(spread);
    for border in [[1; 4], [0, CELLS / 2, 0, 0]] {
        let part = ops.crop(&cells, border);
        let part = ops.mean(&part);
        rows.push(ops.row_sub(&part, &all));
    }
    let (mean, deviation) = mean_and_deviation(ops, &log);
    rows.extend([mean, deviation]);
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

/// Means and deviations of grey, opponent colours, saturation and value, colourfulness, the shares that are clipped, and
/// histograms of grey and saturation.
fn colour_statistics<O: MapOps>(
    ops: &mut O,
    colours: &O::Map,
    grey: &O::Map,
    opponents: &O::Map,
    rows: &mut Vec<O::Row>,
) {
    let (grey_mean, grey_deviation) = mean_and_deviation(ops, grey);
    let (mean, deviation) = mean_and_deviation(ops, opponents);
    let deviation_length = length_of_pair(ops, &deviation);
    let mean_length = length_of_pair(ops, &mean);
    let mean_length = ops.row_affine(&mean_length, 0.3, 0.0);
    let colourfulness = ops.row_add(&deviation_length, &mean_length);
    rows.extend([grey_mean, grey_deviation, mean, deviation, colourfulness]);

    let [red, green, blue] = [0, 1, 2].map(|c| ops.channels(colours, c, c + 1));
    let value = larger(ops, &red, &green, 1.0);
    let value = larger(ops, &value, &blue, 1.0);
    let least = larger(ops, &red, &green, -1.0);
    let least = larger(ops, &least, &blue, -1.0);
    let chroma = ops.sub(&value, &least);
    let divisor = ops.affine(&value, 1.0, STEP);
    let saturation = ops.div(&chroma, &divisor);
    for map in [&saturation, &value] {
        let (mean, deviation) = mean_and_deviation(ops, map);
        rows.extend([mean, deviation]);
    }
    for (scale, shift) in [(-50.0, 3.0), (50.0, -47.0)] {
        let share = ops.affine(grey, scale, shift);
        let share = ops.clip(&share, 0.0, 1.0);
        rows.push(ops.mean(&share));
    }
    for map in [grey, &saturation] {
        let distance = ops.conv(map, &histogram_kernel());
        let distance = ops.abs(&distance);
        let share = ops.affine(&distance, -1.0, 1.0);
        let share = ops.relu(&share);
        rows.push(ops.mean(&share));
    }
}

/// The larger of two values at each place, or with the sign -1 the smaller one: the engines are slow at maxima over channels.
fn larger<O: MapOps>(ops: &mut O, a: &O::Map, b: &O::Map, sign: f32) -> O::Map {
    let beyond = if sign > 0.0 { ops.sub(b, a) } else { ops.sub(a, b) };
    let beyond = ops.relu(&beyond);
    if sign > 0.0 { ops.add(a, &beyond) } else { ops.sub(a, &beyond) }
}

/// How many steps of the histogram a value of 0..1 is away from each of its marks.
fn histogram_kernel() -> Kernel {
    let steps = SHARES as f32 - 1.0;
    let bias = (0..SHARES).map(|i| -(i as f32)).collect();
    Kernel { weights: vec![steps; SHARES], bias, side: 1, stride: 1, groups: 1 }
}

/// Euclidean length of the two columns.
fn length_of_pair<O: MapOps>(ops: &mut O, pair: &O::Row) -> O::Row {
    let square = ops.row_mul(pair, pair);
    let sum = ops.row_matmul(&square, &[1.0, 1.0], 1);
    let sum = ops.row_affine(&sum, 1.0, ROUNDING);
    ops.row_sqrt(&sum)
}

/// The Gaussian window of BRISQUE, 7 x 7 with a deviation of 7/6.
fn blur_kernel() -> Kernel {
    let side = 2 * MARGIN + 1;
    let line: Vec<f32> = (0..side)
        .map(|i| {
            let d = (i as f32 - MARGIN as f32) / (7.0 / 6.0);
            (-0.5 * d * d).exp()
        })
        .collect();
    let sum: f32 = line.iter().sum();
    let window: Vec<f32> = line.iter().flat_map(|a| line.iter().map(move |b| a * b / (sum * sum))).collect();
    Kernel::new(window, 1, side, 1, 1)
}
