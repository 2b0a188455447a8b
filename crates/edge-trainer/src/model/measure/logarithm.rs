//! Logarithms of measurements, with a floor that keeps them finite.

use crate::model::ops::TensorOps;

/// About the variance that rounding to 8 bits causes, on the scale 0..1. Smaller variances are noise.
pub(super) const ROUNDING: f32 = 1e-6;

/// `log(x + floor)`.
pub(super) fn log_above<O: TensorOps>(ops: &mut O, x: O::Tensor<2>, floor: f32) -> O::Tensor<2> {
    let x = ops.affine(x, 1.0, floor);
    ops.log(x)
}

/// `log(mean + floor)` of every map.
pub(super) fn log_mean<O: TensorOps>(ops: &mut O, x: O::Tensor<4>, floor: f32) -> O::Tensor<2> {
    let mean = ops.mean_of_maps(x);
    log_above(ops, mean, floor)
}
