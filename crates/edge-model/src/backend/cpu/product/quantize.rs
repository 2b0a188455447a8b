//! Numbers as bytes: activations row by row as they come, weights column by column once.

use super::super::rows::{Width, largest_magnitude, to_bytes};

/// Zero among the unsigned bytes of the activations.
pub(super) const ZERO: i32 = 128;
/// The largest magnitude in bytes; symmetric, so that a byte's negative is one too.
const LARGEST: f32 = 127.0;

/// Writes a row as bytes around [`ZERO`] and returns their scale: NaN where the row has a value that is not finite, so that the
/// products are not either. `bytes` may be longer than the row; what is behind it meets weights of zero.
pub(super) fn quantize_row(width: Width, row: &[f32], bytes: &mut [u8]) -> f32 {
    let (scale, inverse) = scale(f32::from_bits(largest_magnitude(width, row)));
    to_bytes(width, row, inverse, bytes);
    scale
}

/// The scale of the values and its inverse, 0 where all are zero. The scale is NaN where one is not finite.
pub(super) fn scale_of(values: impl Iterator<Item = f32>) -> (f32, f32) {
    // Bits of magnitudes are in the order of the magnitudes, and what is not finite is above all that is.
    scale(f32::from_bits(values.fold(0, |largest, value| largest.max(value.abs().to_bits()))))
}

fn scale(largest: f32) -> (f32, f32) {
    if !largest.is_finite() {
        return (f32::NAN, 0.0);
    }
    let scale = largest / LARGEST;
    // Magnitudes so small that the inverse overflows are zero.
    if scale > f32::MIN_POSITIVE { (scale, 1.0 / scale) } else { (0.0, 0.0) }
}

/// A weight as a byte of that inverse scale.
pub(super) fn byte(value: f32, inverse: f32) -> i8 {
    (value * inverse).round_ties_even().clamp(-LARGEST, LARGEST) as i8
}
