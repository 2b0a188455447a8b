//! Natural-scene statistics of the picture at half its size.
//!
//! Sources: MSCN coefficients (mean-subtracted, contrast-normalised) and the moments of their neighbour products: Mittal, Moorthy,
//! Bovik, "No-reference image quality assessment in the spatial domain" (BRISQUE), IEEE TIP 2012. Colourfulness: Hasler,
//! Süsstrunk, "Measuring colourfulness in natural images", 2003.

use super::logarithm::{ROUNDING, log_mean};
use crate::model::ops::{FixedConv, TensorOps};

/// Number of bins of a histogram.
const BINS: usize = 9;
/// Pixels that the 7 x 7 window takes from each border.
const MARGIN: usize = 3;
/// One step of an 8-bit value.
const STEP: f32 = 1.0 / 255.0;
/// Cells per side of the grid that locates the detail.
const CELLS: usize = 4;

/// Measures colours `[N, 3, S, S]` and their planes (grey and two opponents); `side_px` is S.
pub(super) fn measure<O: TensorOps>(
    ops: &mut O,
    colours: O::Tensor<4>,
    planes: O::Tensor<4>,
    side_px: usize,
) -> Vec<O::Tensor<2>> {
    let grey = ops.channels(planes.clone(), 0..1);
    let opponents = ops.channels(planes, 1..3);
    let (mscn, sigma) = normalised(ops, grey.clone());
    let mut rows = Vec::new();
    mscn_statistics(ops, mscn, sigma.clone(), &mut rows);
    place_statistics(ops, sigma, (side_px - 2 * MARGIN) / CELLS, &mut rows);
    colour_statistics(ops, colours, (grey, opponents), &mut rows);
    rows
}

/// MSCN coefficients, and the local deviation that they were divided by.
fn normalised<O: TensorOps>(ops: &mut O, x: O::Tensor<4>) -> (O::Tensor<4>, O::Tensor<4>) {
    let blur = blur_kernel();
    let mean = ops.conv(x.clone(), &blur);
    let square = ops.mul(x.clone(), x.clone());
    let mean_square = ops.conv(square, &blur);
    let square_mean = ops.mul(mean.clone(), mean.clone());
    let variance = ops.sub(mean_square, square_mean);
    let variance = ops.relu(variance);
    let variance = ops.affine(variance, 1.0, ROUNDING);
    let sigma = ops.sqrt(variance);
    let inner = ops.crop(x, [MARGIN; 4]);
    let detail = ops.sub(inner, mean);
    let divisor = ops.affine(sigma.clone(), 1.0, STEP);
    (ops.div(detail, divisor), sigma)
}

/// `log E|x|`, `log E x^2` and the log kurtosis `log E x^4 - 2 log E x^2` of every channel.
fn moments<O: TensorOps>(ops: &mut O, x: O::Tensor<4>, rows: &mut Vec<O::Tensor<2>>) {
    let magnitude = ops.abs(x.clone());
    rows.push(log_mean(ops, magnitude, 1e-4));
    let square = ops.mul(x.clone(), x);
    let second = log_mean(ops, square.clone(), 1e-5);
    let fourth = ops.mul(square.clone(), square);
    let fourth = log_mean(ops, fourth, 1e-7);
    let twice = ops.affine(second.clone(), 2.0, 0.0);
    rows.push(second);
    rows.push(ops.sub(fourth, twice));
}

/// Moments of the MSCN coefficients, of the local deviation `sigma`, and of the products of neighbouring coefficients in four
/// directions. The products have separate moments for positive and negative values, because their distribution is asymmetric.
fn mscn_statistics<O: TensorOps>(ops: &mut O, mscn: O::Tensor<4>, sigma: O::Tensor<4>, rows: &mut Vec<O::Tensor<2>>) {
    moments(ops, mscn.clone(), rows);
    rows.push(log_mean(ops, sigma.clone(), 1e-4));
    let variance = ops.mul(sigma.clone(), sigma);
    rows.push(log_mean(ops, variance, 1e-5));
    let pairs = [
        ([0, 0, 0, 1], [0, 0, 1, 0]),
        ([0, 1, 0, 0], [1, 0, 0, 0]),
        ([0, 1, 0, 1], [1, 0, 1, 0]),
        ([0, 1, 1, 0], [1, 0, 0, 1]),
    ];
    for (first, second) in pairs {
        let (a, b) = (ops.crop(mscn.clone(), first), ops.crop(mscn.clone(), second));
        let product = ops.mul(a, b);
        rows.push(ops.mean_of_maps(product.clone()));
        let magnitude = ops.abs(product.clone());
        rows.push(log_mean(ops, magnitude, 1e-4));
        for sign in [1.0, -1.0] {
            let side = ops.affine(product.clone(), sign, 0.0);
            let side = ops.relu(side);
            let square = ops.mul(side.clone(), side);
            rows.push(log_mean(ops, square, 1e-5));
        }
    }
}

/// Statistics of where in the picture the detail is, from the log of the local deviation `sigma`. The log is averaged over the cells of a
/// grid. The statistics are the deviation between cells, the mean of the central cells minus that of all cells, the mean of the upper
/// half minus that of all cells, and the mean and deviation of the log over the picture.
fn place_statistics<O: TensorOps>(ops: &mut O, sigma: O::Tensor<4>, cell_px: usize, rows: &mut Vec<O::Tensor<2>>) {
    let log = ops.affine(sigma, 1.0, 1e-3);
    let log = ops.log(log);
    let area = cell_px * cell_px;
    let mean = FixedConv::without_bias(vec![1.0 / area as f32; area], 1, cell_px, cell_px, 1);
    let cells = ops.conv(log.clone(), &mean);
    let (all, spread) = mean_and_deviation(ops, cells.clone());
    rows.push(spread);
    for border in [[1; 4], [0, CELLS / 2, 0, 0]] {
        let part = ops.crop(cells.clone(), border);
        let part = ops.mean_of_maps(part);
        rows.push(ops.sub(part, all.clone()));
    }
    let (mean, deviation) = mean_and_deviation(ops, log);
    rows.extend([mean, deviation]);
}

/// Mean and deviation of every channel.
fn mean_and_deviation<O: TensorOps>(ops: &mut O, x: O::Tensor<4>) -> (O::Tensor<2>, O::Tensor<2>) {
    let mean = ops.mean_of_maps(x.clone());
    let square = ops.mul(x.clone(), x);
    let mean_square = ops.mean_of_maps(square);
    let square_mean = ops.mul(mean.clone(), mean.clone());
    let variance = ops.sub(mean_square, square_mean);
    let variance = ops.relu(variance);
    let variance = ops.affine(variance, 1.0, ROUNDING);
    (mean, ops.sqrt(variance))
}

/// Means and deviations of grey, opponent colours, saturation and value; colourfulness; the shares of clipped pixels; and
/// histograms of grey and saturation.
fn colour_statistics<O: TensorOps>(
    ops: &mut O,
    colours: O::Tensor<4>,
    (grey, opponents): (O::Tensor<4>, O::Tensor<4>),
    rows: &mut Vec<O::Tensor<2>>,
) {
    let (grey_mean, grey_deviation) = mean_and_deviation(ops, grey.clone());
    let (mean, deviation) = mean_and_deviation(ops, opponents);
    let deviation_length = length_of_pair(ops, deviation.clone());
    let mean_length = length_of_pair(ops, mean.clone());
    let mean_length = ops.affine(mean_length, 0.3, 0.0);
    let colourfulness = ops.add(deviation_length, mean_length);
    rows.extend([grey_mean, grey_deviation, mean, deviation, colourfulness]);

    let [red, green, blue] = [0, 1, 2].map(|c| ops.channels(colours.clone(), c..c + 1));
    let value = larger(ops, red.clone(), green.clone());
    let value = larger(ops, value, blue.clone());
    let least = smaller(ops, red, green);
    let least = smaller(ops, least, blue);
    let chroma = ops.sub(value.clone(), least);
    let divisor = ops.affine(value.clone(), 1.0, STEP);
    let saturation = ops.div(chroma, divisor);
    for map in [saturation.clone(), value] {
        let (mean, deviation) = mean_and_deviation(ops, map);
        rows.extend([mean, deviation]);
    }
    for (scale, shift) in [(-50.0, 3.0), (50.0, -47.0)] {
        let share = ops.affine(grey.clone(), scale, shift);
        let share = ops.clip(share, 0.0, 1.0);
        rows.push(ops.mean_of_maps(share));
    }
    for map in [grey, saturation] {
        let distance = ops.conv(map, &histogram_kernel());
        let distance = ops.abs(distance);
        let share = ops.affine(distance, -1.0, 1.0);
        let share = ops.relu(share);
        rows.push(ops.mean_of_maps(share));
    }
}

/// The larger of two values at each place: the engines are slow at maxima over channels.
fn larger<O: TensorOps>(ops: &mut O, a: O::Tensor<4>, b: O::Tensor<4>) -> O::Tensor<4> {
    let beyond = ops.sub(b, a.clone());
    let beyond = ops.relu(beyond);
    ops.add(a, beyond)
}

/// The smaller of two values at each place.
fn smaller<O: TensorOps>(ops: &mut O, a: O::Tensor<4>, b: O::Tensor<4>) -> O::Tensor<4> {
    let beyond = ops.sub(a.clone(), b);
    let beyond = ops.relu(beyond);
    ops.sub(a, beyond)
}

/// Returns a convolution with one output for each bin: the signed distance of the input, 0..1, from the middle of the bin, in bin widths.
fn histogram_kernel() -> FixedConv {
    let steps = BINS as f32 - 1.0;
    let bias = (0..BINS).map(|i| -(i as f32)).collect();
    FixedConv { weights: vec![steps; BINS], bias, size: [1; 2], stride: [1; 2], groups: 1 }
}

/// Euclidean length of two columns, `[N, 2] -> [N, 1]`.
fn length_of_pair<O: TensorOps>(ops: &mut O, pair: O::Tensor<2>) -> O::Tensor<2> {
    let square = ops.mul(pair.clone(), pair);
    let sum = ops.matmul_constant(square, &[1.0, 1.0], 1);
    let sum = ops.affine(sum, 1.0, ROUNDING);
    ops.sqrt(sum)
}

/// The Gaussian window of BRISQUE, 7 x 7 with a deviation of 7/6.
fn blur_kernel() -> FixedConv {
    let side = 2 * MARGIN + 1;
    let line: Vec<f32> = (0..side)
        .map(|i| {
            let d = (i as f32 - MARGIN as f32) / (7.0 / 6.0);
            (-0.5 * d * d).exp()
        })
        .collect();
    let sum: f32 = line.iter().sum();
    let window: Vec<f32> = line.iter().flat_map(|a| line.iter().map(move |b| a * b / (sum * sum))).collect();
    FixedConv::without_bias(window, 1, side, 1, 1)
}
