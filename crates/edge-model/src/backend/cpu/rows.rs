//! Operations on rows of numbers: norms, means, softmax, activation functions and rounding to bytes. They are plain loops over chunks of a
//! register's width, which the compiler vectorises. Each is compiled for every [`VectorWidth`].

use std::sync::LazyLock;

/// Number of 32-bit values in a chunk: as many as the widest register holds.
const LANES: usize = 16;
/// Number of values that are added up before their sum is added to others, which keeps the rounding error small.
const SUMMED: usize = 1024;
/// `1.5 * 2^23`. Adding it to a float and subtracting it again rounds the float to a whole number.
const ROUND: f32 = 12_582_912.0;

/// Limits that every result is within.
pub(super) const UNLIMITED: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

/// Returns the value, or the limit that it is beyond. Unlike `clamp`, it keeps NaN and needs no order of the limits.
#[inline(always)]
pub(super) fn limited(value: f32, limits: [f32; 2]) -> f32 {
    let value = if value < limits[0] { limits[0] } else { value };
    if value > limits[1] { limits[1] } else { value }
}

/// A set of vector instructions that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VectorWidth {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The instructions that every processor of this architecture has.
    Plain,
}

impl VectorWidth {
    /// Returns the widest set of vector instructions of this processor.
    pub(super) fn best() -> Self {
        // Detected once, because some operators ask for it in every run.
        static BEST: LazyLock<VectorWidth> = LazyLock::new(|| VectorWidth::available()[0]);
        *BEST
    }

    /// Returns all sets of vector instructions of this processor, widest first.
    pub(super) fn available() -> Vec<Self> {
        let mut widths = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            widths.extend(std::arch::is_x86_feature_detected!("avx512f").then_some(Self::Avx512));
            let has_avx2 = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
            widths.extend(has_avx2.then_some(Self::Avx2));
        }
        widths.push(Self::Plain);
        widths
    }
}

/// Defines a function that takes a [`VectorWidth`] and whose body is compiled for each of them.
macro_rules! for_each_width {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) $(-> $answer:ty)? $body:block) => {
        $(#[$doc])*
        pub(super) fn $name(width: VectorWidth, $($argument: $type),*) $(-> $answer)? {
            #[inline(always)]
            fn plain($($argument: $type),*) $(-> $answer)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
            fn avx512($($argument: $type),*) $(-> $answer)? { plain($($argument),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $type),*) $(-> $answer)? { plain($($argument),*) }
            match width {
                // SAFETY: `VectorWidth::available` makes this value only if the processor has the features.
                #[cfg(target_arch = "x86_64")]
                VectorWidth::Avx512 => unsafe { avx512($($argument),*) },
                // SAFETY: `VectorWidth::available` makes this value only if the processor has the features.
                #[cfg(target_arch = "x86_64")]
                VectorWidth::Avx2 => unsafe { avx2($($argument),*) },
                VectorWidth::Plain => plain($($argument),*),
            }
        }
    };
}
pub(super) use for_each_width;

for_each_width! {
    /// Computes the layer norm of each row of `values`: `(x - mean) / sqrt(variance + epsilon) * scale + shift`. Rows are as long as
    /// `scale` and `shift`.
    fn layer_norm(values: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, out: &mut [f32]) {
        let length = scale.len();
        for (row, out) in values.chunks_exact(length).zip(out.chunks_exact_mut(length)) {
            let mean = sum(row, |v| v) / length as f32;
            let variance = sum(row, |v| (v - mean) * (v - mean)) / length as f32;
            let factor = 1.0 / (variance + epsilon).sqrt();
            for ((out, value), (scale, shift)) in out.iter_mut().zip(row).zip(scale.iter().zip(shift)) {
                *out = (value - mean) * factor * scale + shift;
            }
        }
    }
}

for_each_width! {
    /// Computes the mean of each row of `length` values.
    fn mean_of_rows(values: &[f32], length: usize, out: &mut [f32]) {
        for (row, out) in values.chunks_exact(length).zip(out) {
            *out = sum(row, |v| v) / length as f32;
        }
    }
}

for_each_width! {
    /// Writes the mean of each column to `out`. A row has as many values as `out`.
    fn mean_of_columns(values: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        for row in values.chunks_exact(out.len()) {
            out.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let count = (values.len() / out.len()) as f32;
        out.iter_mut().for_each(|sum| *sum /= count);
    }
}

for_each_width! {
    /// Adds `weight` times each value of `values` to the element of `out` with the same index.
    fn add_scaled(values: &[f32], weight: f32, out: &mut [f32]) {
        out.iter_mut().zip(values).for_each(|(out, value)| *out += weight * value);
    }
}

for_each_width! {
    /// Replaces each value beyond a limit by that limit, in rows of `length` values that start `stride` values apart.
    fn limit_rows(values: &mut [f32], stride: usize, length: usize, limits: [f32; 2]) {
        for row in values.chunks_mut(stride) {
            row[..length].iter_mut().for_each(|value| *value = limited(*value, limits));
        }
    }
}

for_each_width! {
    /// Divides a row into the values at even and at odd places.
    fn divide_in_two(values: &[f32], even: &mut [f32], odd: &mut [f32]) {
        let (pairs, last) = values.as_chunks::<2>();
        for ((pair, even), odd) in pairs.iter().zip(even.iter_mut()).zip(odd) {
            (*even, *odd) = (pair[0], pair[1]);
        }
        if let ([last], Some(even)) = (last, even.get_mut(pairs.len())) {
            *even = *last;
        }
    }
}

for_each_width! {
    /// Returns the bits of the largest magnitude. If a value is not finite, they are at least those of infinity.
    fn largest_magnitude(values: &[f32]) -> u32 {
        values.iter().fold(0, |largest, value| largest.max(value.abs().to_bits()))
    }
}

for_each_width! {
    /// Multiplies each value by `factor`, rounds it to a whole number, which must be from -127 to 127, and adds 128.
    fn to_bytes(values: &[f32], factor: f32, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(values) {
            *byte = (value * factor + ROUND).to_bits().wrapping_add(128) as u8;
        }
    }
}

for_each_width! {
    /// Computes the softmax of `factor * row + added`, in place. An empty `added` counts as zeros.
    fn softmax(row: &mut [f32], factor: f32, added: &[f32]) {
        if added.is_empty() {
            row.iter_mut().for_each(|value| *value *= factor);
        } else {
            row.iter_mut().zip(added).for_each(|(value, added)| *value = *value * factor + added);
        }
        let largest = largest(row);
        row.iter_mut().for_each(|value| *value = exp(*value - largest));
        let share = 1.0 / sum(row, |v| v);
        row.iter_mut().for_each(|value| *value *= share);
    }
}

for_each_width! {
    /// Computes `x * sigmoid(factor * x)` of each value, in place.
    fn quick_gelu(values: &mut [f32], factor: f32) {
        values.iter_mut().for_each(|value| *value /= 1.0 + exp(-factor * *value));
    }
}

/// Returns the sum of a function of the values.
#[inline(always)]
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    values.chunks(SUMMED).map(|values| sum_of_few(values, &of)).sum()
}

/// Returns the sum of a function of the values. Each lane of a register has a sum of its own. At the end halves are added to each other: in
/// a chain, every addition would wait for the one before it.
#[inline(always)]
fn sum_of_few(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in whole {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += of(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += of(*value);
    }
    let sums: [f32; 8] = std::array::from_fn(|i| sums[i] + sums[i + 8]);
    let sums: [f32; 4] = std::array::from_fn(|i| sums[i] + sums[i + 4]);
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

/// Returns the largest value. Ignores NaN, whose exponential makes the softmax NaN in any case.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in whole {
        for (most, value) in most.iter_mut().zip(chunk) {
            *most = larger(*most, *value);
        }
    }
    most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, value| larger(most, *value))
}

/// Returns the exponential, exact to 2 units in the last place. Results below the smallest normal number are raised to about that number;
/// results above the largest finite number are infinite.
///
/// `e^x = 2^n e^r` with the nearest whole number `n` and `|r| <= ln 2 / 2`. For such `r` the Taylor polynomial of degree six is exact
/// enough.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // ln 2 as the sum of two parts. The first has few digits, so that its multiples are exact.
    const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2[0] - n * LN2[1];
    let polynomial =
        1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    // Multiplies by the power of two in two halves: 2^128 is out of range, although the result may not be.
    let exponent = (shifted.to_bits().wrapping_sub(ROUND.to_bits())).cast_signed();
    let half = exponent >> 1;
    let power = |n: i32| f32::from_bits((n + 127).cast_unsigned() << 23);
    polynomial * power(half) * power(exponent - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, magnitude: f32) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 * magnitude - magnitude).collect()
    }

    #[test]
    fn the_exponential_is_right_to_the_last_digits() {
        for i in -8_700..=8_860 {
            let x = i as f32 * 0.01;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.5e-7, "{x}: {} for {exact}", exp(x));
        }
        assert_eq!((exp(0.0), exp(100.0)), (1.0, f32::INFINITY));
        assert!(exp(-1e30) < 2e-38 && exp(f32::NEG_INFINITY) < 2e-38);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn rows_are_normed_as_the_formula_says() {
        for length in [1, 15, 16, 17, 50, 768] {
            let (x, scale, shift) = (values(3 * length, 5.0), values(length, 2.0), values(length, 1.0));
            for width in VectorWidth::available() {
                let mut out = vec![0.0; 3 * length];
                layer_norm(width, &x, &scale, &shift, 1e-5, &mut out);
                for (row, out) in x.chunks(length).zip(out.chunks(length)) {
                    let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / length as f64;
                    let variance = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / length as f64;
                    for (at, out) in out.iter().enumerate() {
                        let normed = (f64::from(row[at]) - mean) / (variance + 1e-5).sqrt();
                        let exact = normed * f64::from(scale[at]) + f64::from(shift[at]);
                        assert!((f64::from(*out) - exact).abs() < 1e-5, "{width:?} {length}: {out} for {exact}");
                    }
                }
            }
        }
    }

    #[test]
    fn means_are_those_of_rows_and_of_columns() {
        for (rows, columns) in [(1, 1), (3, 15), (7, 192), (40, 33), (192, 2), (2, 5000)] {
            let x = values(rows * columns, 3.0);
            let mean = |of: &mut dyn Iterator<Item = usize>, count: usize| {
                of.map(|at| f64::from(x[at])).sum::<f64>() / count as f64
            };
            for width in VectorWidth::available() {
                let (mut of_rows, mut of_columns) = (vec![f32::NAN; rows], vec![f32::NAN; columns]);
                mean_of_rows(width, &x, columns, &mut of_rows);
                mean_of_columns(width, &x, &mut of_columns);
                for (row, found) in of_rows.iter().enumerate() {
                    let exact = mean(&mut (row * columns..(row + 1) * columns), columns);
                    assert!((f64::from(*found) - exact).abs() < 1e-6, "{width:?} {rows}x{columns}");
                }
                for (column, found) in of_columns.iter().enumerate() {
                    let exact = mean(&mut (column..x.len()).step_by(columns), rows);
                    assert!((f64::from(*found) - exact).abs() < 1e-6, "{width:?} {rows}x{columns}");
                }
            }
        }
    }

    #[test]
    fn softmax_is_a_share_of_exponentials() {
        for length in [1, 2, 16, 33, 50, 77] {
            let mask: Vec<f32> = (0..length).map(|i| if i % 3 == 2 { f32::NEG_INFINITY } else { 0.5 }).collect();
            for (width, added) in
                VectorWidth::available().into_iter().flat_map(|width| [(width, &[][..]), (width, &mask[..])])
            {
                let mut row = values(length, 40.0);
                let with = |i: usize, v: f32| f64::from(v) * 0.3 + added.get(i).map_or(0.0, |a| f64::from(*a));
                let exact: Vec<f64> = row.iter().enumerate().map(|(i, v)| with(i, *v).exp()).collect();
                let all: f64 = exact.iter().sum();
                softmax(width, &mut row, 0.3, added);
                for (found, exact) in row.iter().zip(&exact) {
                    assert!((f64::from(*found) - exact / all).abs() < 1e-6, "{width:?} {length}");
                }
            }
        }
    }

    #[test]
    fn the_activation_is_the_value_times_its_sigmoid() {
        for width in VectorWidth::available() {
            let before = values(3 * 40 + 5, 12.0);
            let mut after = before.clone();
            quick_gelu(width, &mut after, 1.702);
            for (before, after) in before.iter().zip(&after) {
                let x = f64::from(*before);
                let exact = x / (1.0 + (-1.702 * x).exp());
                assert!((f64::from(*after) - exact).abs() < 4e-6, "{width:?}: {after} for {exact}");
            }
            let mut odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30];
            quick_gelu(width, &mut odd, 1.702);
            assert!(odd[0].is_nan() && odd[1] == f32::INFINITY && !odd[2].is_finite() && odd[3] == 0.0, "{odd:?}");
        }
    }
}
