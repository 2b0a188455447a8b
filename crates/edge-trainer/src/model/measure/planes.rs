//! The inputs of the measurements: the colours of a picture, and its grey plane and opponent planes at three scales.

use crate::model::ops::{FixedConv, TensorOps};

/// Subtracted from every channel of a picture's pixels, on the scale 0..1.
pub const MEAN: f32 = 0.5;
/// Every channel is divided by this number after [`MEAN`] is subtracted.
pub const STD: f32 = 0.25;
/// Number of scales: native, half and quarter size.
pub const SCALES: usize = 3;

/// Weights of red, green and blue in grey (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// The planes that codebook patches are cut from: grey, red minus green, and yellow minus blue. Their shape is `[N, 3, S, S]` at native
/// size, with half and a quarter of S at the other scales.
pub fn patch_planes<O: TensorOps>(ops: &mut O, pixel_values: O::Tensor<4>) -> [O::Tensor<4>; SCALES] {
    let native = ops.conv(pixel_values, &planes_kernel());
    let half = halve(ops, native.clone());
    let quarter = halve(ops, half.clone());
    [native, half, quarter]
}

/// Halves the size of three channels: each block of 2 x 2 pixels is replaced by its mean.
pub(super) fn halve<O: TensorOps>(ops: &mut O, x: O::Tensor<4>) -> O::Tensor<4> {
    ops.conv(x, &FixedConv::without_bias(vec![0.25; 12], 3, 2, 2, 3))
}

/// Returns the convolution that undoes the normalisation: R, G, B on the scale 0..1.
pub(super) fn colours_kernel() -> FixedConv {
    let mut weights = vec![0.0; 9];
    (0..3).for_each(|c| weights[c * 4] = STD);
    FixedConv { weights, bias: vec![MEAN; 3], size: [1; 2], stride: [1; 2], groups: 1 }
}

/// Returns the convolution that undoes the normalisation and computes grey, red minus green, and yellow minus blue.
fn planes_kernel() -> FixedConv {
    let planes = [LUMA, [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]];
    let weights = planes.as_flattened().iter().map(|w| w * STD).collect();
    let bias = planes.iter().map(|p| p.iter().sum::<f32>() * MEAN).collect();
    FixedConv { weights, bias, size: [1; 2], stride: [1; 2], groups: 1 }
}
