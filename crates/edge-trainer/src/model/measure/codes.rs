//! Responses to a codebook: filters that k-means has found in whitened patches of pictures (Coates, Lee, Ng, "An analysis of
//! single-layer networks in unsupervised feature learning", 2011; for image quality: Ye et al., "Unsupervised feature learning
//! framework for no-reference image quality assessment", 2012).

use super::{SCALES, log_row};
use crate::model::maps::{Kernel, MapOps};

/// Side of the filters.
pub const CODE_PATCH_PX: usize = 7;
/// Pixels from patch to patch at native, half and quarter size: about as many patches at each.
const STRIDES: [usize; SCALES] = [6, 3, 2];
/// A filter responds from here on, in deviations of a patch.
const THRESHOLD: f32 = 1.0;
/// Added to mean responses before their logarithm is taken.
const FLOOR: f32 = 1e-3;
/// Pixels of a patch in one plane.
const AREA: usize = CODE_PATCH_PX * CODE_PATCH_PX;

/// What is added to a patch's variance before it is divided by its deviation: ten steps of an 8-bit value.
pub const fn contrast_floor() -> f32 {
    (10.0 / 255.0) * (10.0 / 255.0)
}

/// The filters of one scale.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeLevel {
    /// Row-major `[K, 3, 7, 7]`; each plane's mean is zero.
    pub filters: Vec<f32>,
    /// What is taken from each filter's response, K of them.
    pub shifts: Vec<f32>,
}

/// The filters of every scale, from native to quarter size; all scales have equally many.
#[derive(Debug, Clone, PartialEq)]
pub struct Codebook(pub [CodeLevel; SCALES]);

impl Codebook {
    /// Filters per scale.
    pub fn filters(&self) -> usize {
        self.0[0].shifts.len()
    }

    /// Numbers measured.
    pub fn measurements(&self) -> usize {
        2 * SCALES * self.filters()
    }
}

/// Log mean responses `[N, 2 K SCALES]` of the planes at every scale: how far each filter's response goes beyond the threshold,
/// and how far its opposite's does.
///
/// `side_px` is the side of the first scale's planes.
pub(super) fn measure<O: MapOps>(
    ops: &mut O,
    planes: [&O::Map; SCALES],
    side_px: usize,
    codebook: &Codebook,
) -> O::Row {
    let mut rows = Vec::with_capacity(2 * SCALES);
    for (scale, ((planes, level), stride)) in planes.into_iter().zip(&codebook.0).zip(STRIDES).enumerate() {
        let planes = ops.crop(planes, border(side_px >> scale, stride));
        let responses = responses(ops, &planes, level, stride);
        for sign in [1.0, -1.0] {
            let shifts: Vec<f32> = level.shifts.iter().map(|shift| -sign * shift - THRESHOLD).collect();
            let beyond = ops.channel_affine(&responses, sign, &shifts);
            let beyond = ops.relu(&beyond);
            let mean = ops.mean(&beyond);
            rows.push(log_row(ops, &mean, FLOOR));
        }
    }
    ops.row_stack(&rows)
}

/// What to leave out so that a multiple of eight patches fits into each direction: the engines' vector instructions want that.
fn border(side_px: usize, stride: usize) -> [usize; 4] {
    let fitting = (side_px - CODE_PATCH_PX) / stride + 1;
    let count = if fitting < 8 { fitting } else { fitting / 8 * 8 };
    let rest = side_px - ((count - 1) * stride + CODE_PATCH_PX);
    [rest / 2, rest - rest / 2, rest / 2, rest - rest / 2]
}

/// The filters' products with each patch, less its planes' means and by its deviation.
fn responses<O: MapOps>(ops: &mut O, planes: &O::Map, level: &CodeLevel, stride: usize) -> O::Map {
    let count = level.shifts.len();
    // Three more filters give the means of the patch's planes.
    let mut weights = level.filters.clone();
    for plane in 0..3 {
        weights.extend((0..3).flat_map(|p| [if p == plane { 1.0 / AREA as f32 } else { 0.0 }; AREA]));
    }
    let products = ops.conv(planes, &Kernel::new(weights, count + 3, CODE_PATCH_PX, stride, 1));
    let responses = ops.channels(&products, 0, count);
    let means = ops.channels(&products, count, count + 3);

    let all = (3 * AREA) as f32;
    let square = ops.mul(planes, planes);
    let mean_square = ops.conv(&square, &Kernel::new(vec![1.0 / all; 3 * AREA], 1, CODE_PATCH_PX, stride, 1));
    let square_means = ops.mul(&means, &means);
    let square_mean = ops.conv(&square_means, &Kernel::new(vec![1.0 / 3.0; 3], 1, 1, 1, 1));
    let variance = ops.sub(&mean_square, &square_mean);
    let variance = ops.relu(&variance);
    let variance = ops.affine(&variance, 1.0, contrast_floor());
    let deviation = ops.sqrt(&variance);
    ops.div(&responses, &deviation)
}
