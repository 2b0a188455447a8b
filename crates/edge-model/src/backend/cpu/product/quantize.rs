//! Rounding of floats to bytes: each row of the activations in every run, each column of the weights once.

use super::super::rows::{VectorWidth, largest_magnitude, to_bytes};

/// The unsigned byte that stands for zero in the activations.
pub(super) const ZERO: i32 = 128;
/// Largest magnitude of a rounded value. The range -127 to 127 is symmetric, so that the negative of each value is in it.
const LARGEST: f32 = 127.0;

/// Writes a row as bytes around [`ZERO`] and returns its scale. The scale is NaN if a value of the row is not finite, so that the products
/// are not finite either. `bytes` may be longer than the row; the weights of the extra bytes are zero.
pub(super) fn quantize_row(width: VectorWidth, row: &[f32], bytes: &mut [u8]) -> f32 {
    let (scale, inverse) = scale(f32::from_bits(largest_magnitude(width, row)));
    to_bytes(width, row, inverse, bytes);
    scale
}

/// Returns the scale of the values and its inverse. The inverse is 0 if all values are zero. The scale is NaN if a value is not finite.
pub(super) fn scale_of(values: impl Iterator<Item = f32>) -> (f32, f32) {
    // The bits of magnitudes are ordered like the magnitudes, and those of infinity and NaN are above all finite ones.
    scale(f32::from_bits(values.fold(0, |largest, value| largest.max(value.abs().to_bits()))))
}

fn scale(largest: f32) -> (f32, f32) {
    if !largest.is_finite() {
        return (f32::NAN, 0.0);
    }
    let scale = largest / LARGEST;
    // A scale so small that its inverse would overflow counts as zero.
    if scale > f32::MIN_POSITIVE { (scale, 1.0 / scale) } else { (0.0, 0.0) }
}

/// Rounds a weight to a byte, given the inverse of its scale.
pub(super) fn byte(value: f32, inverse: f32) -> i8 {
    (value * inverse).round_ties_even().clamp(-LARGEST, LARGEST) as i8
}
