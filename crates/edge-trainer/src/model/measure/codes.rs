//! Responses to a codebook of filters that k-means found in whitened patches of pictures (Coates, Lee, Ng, "An analysis of
//! single-layer networks in unsupervised feature learning", 2011; for image quality: Ye et al., "Unsupervised feature learning
//! framework for no-reference image quality assessment", 2012).

use super::logarithm::log_above;
use super::planes::SCALES;
use crate::model::ops::{FixedConv, TensorOps};

/// Side of the filters, in pixels.
pub const CODE_PATCH_PX: usize = 7;
/// Pixels from patch to patch at native, half and quarter size. Every scale has about the same number of patches.
const STRIDES: [usize; SCALES] = [6, 3, 2];
/// Threshold in deviations of a patch: only the part of a response above it counts.
const THRESHOLD: f32 = 1.0;
/// Added to mean responses before taking the logarithm.
const FLOOR: f32 = 1e-3;
/// Pixels of a patch in one plane.
const AREA: usize = CODE_PATCH_PX * CODE_PATCH_PX;

/// Added to a patch's variance before the patch is divided by its deviation: the square of ten steps of an 8-bit value.
pub const fn contrast_floor() -> f32 {
    (10.0 / 255.0) * (10.0 / 255.0)
}

/// The filters for one scale of the picture, and the constant that is subtracted from each filter's response.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeLevel {
    /// Row-major `[K, 3, 7, 7]`; each plane's mean is zero.
    pub filters: Vec<f32>,
    /// Subtracted from each filter's response, K numbers.
    pub shifts: Vec<f32>,
}

/// The filters of every scale, from native to quarter size; every scale has the same number.
#[derive(Debug, Clone, PartialEq)]
pub struct Codebook(pub [CodeLevel; SCALES]);

/// Returns two codes for each filter at each scale, `[N, 2 K SCALES]`: the log of the mean excess of the filter's response over the
/// threshold, and the same for the negative response.
///
/// `side_px` is the side of the planes at native size.
pub(super) fn measure<O: TensorOps>(
    ops: &mut O,
    planes: [O::Tensor<4>; SCALES],
    side_px: usize,
    codebook: &Codebook,
) -> O::Tensor<2> {
    let mut rows = Vec::with_capacity(2 * SCALES);
    for (scale, ((planes, level), stride)) in planes.into_iter().zip(&codebook.0).zip(STRIDES).enumerate() {
        let planes = ops.crop(planes, border(side_px >> scale, stride));
        let responses = responses(ops, planes, level, stride);
        for sign in [1.0, -1.0] {
            let shifts: Vec<f32> = level.shifts.iter().map(|shift| -sign * shift - THRESHOLD).collect();
            let shifts = ops.constant(&shifts, [1, shifts.len(), 1, 1]);
            let responses = responses.clone();
            let beyond = if sign > 0.0 { ops.add(responses, shifts) } else { ops.sub(shifts, responses) };
            let beyond = ops.relu(beyond);
            let mean = ops.mean_of_maps(beyond);
            rows.push(log_above(ops, mean, FLOOR));
        }
    }
    ops.concat(rows, 1)
}

/// Returns the border to crop, in pixels `[top, bottom, left, right]`. With it the number of patches in each direction is a multiple of
/// eight, for which the engines' vector instructions are fastest.
fn border(side_px: usize, stride: usize) -> [usize; 4] {
    let fitting = (side_px - CODE_PATCH_PX) / stride + 1;
    let count = if fitting < 8 { fitting } else { fitting / 8 * 8 };
    let rest = side_px - ((count - 1) * stride + CODE_PATCH_PX);
    [rest / 2, rest - rest / 2, rest / 2, rest - rest / 2]
}

/// Products of the K filters with each patch, divided by the patch's deviation: `[N, K, H', W']`. The means of a patch's planes do not
/// change the products, because each plane of a filter has mean zero.
fn responses<O: TensorOps>(ops: &mut O, planes: O::Tensor<4>, level: &CodeLevel, stride: usize) -> O::Tensor<4> {
    let count = level.shifts.len();
    // Three more filters give the means of the patch's planes.
    let mut weights = level.filters.clone();
    for plane in 0..3 {
        weights.extend((0..3).flat_map(|p| [if p == plane { 1.0 / AREA as f32 } else { 0.0 }; AREA]));
    }
    let filters = FixedConv::without_bias(weights, count + 3, CODE_PATCH_PX, stride, 1);
    let products = ops.conv(planes.clone(), &filters);
    let responses = ops.channels(products.clone(), 0..count);
    let means = ops.channels(products, count..count + 3);

    let squares = ops.mul(planes.clone(), planes);
    // Each plane alone: one convolution of all planes to one channel takes three times as long.
    let means_of_patch = FixedConv::without_bias(vec![1.0 / AREA as f32; 3 * AREA], 3, CODE_PATCH_PX, stride, 3);
    let mean_squares = ops.conv(squares, &means_of_patch);
    let square_means = ops.mul(means.clone(), means);
    let variances = ops.sub(mean_squares, square_means);
    let variance = ops.conv(variances, &FixedConv::without_bias(vec![1.0 / 3.0; 3], 1, 1, 1, 1));
    let variance = ops.relu(variance);
    let variance = ops.affine(variance, 1.0, contrast_floor());
    let deviation = ops.sqrt(variance);
    ops.div(responses, deviation)
}
