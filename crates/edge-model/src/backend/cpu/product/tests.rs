//! Compares every kernel that this processor can run with plain loops.

use super::kernel::{KernelKind, ProductKernel};
use super::quantize::{byte, scale_of};
use super::{PackedWeights, ProductKernels, available, strassen};
use crate::backend::precision::Precision;

/// Returns pseudo-random values of both signs, up to `magnitude`. They have no pattern that could hide an error of the product.
fn values(seed: u32, count: usize, magnitude: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    (0..count).map(|_| (next() as f32 / u32::MAX as f32 - 0.5) * 2.0 * magnitude).collect()
}

/// Returns the kernels of these precisions, and reports each precision that is skipped because this processor has no kernel for it.
fn kernels(precisions: &[Precision]) -> Vec<ProductKernel> {
    let has = |precision: &&Precision| ProductKernels::or_skip(**precision, "backend::cpu::product").is_some();
    let precisions: Vec<_> = precisions.iter().filter(has).collect();
    available::kernels().into_iter().filter(|kernel| precisions.contains(&&kernel.precision())).collect()
}

const BOTH: [Precision; 2] = [Precision::F32, Precision::Int8];

/// Computes `a x b + bias` in plain loops.
fn plain(a: &[f32], b: &[f32], bias: &[f32], inner: usize) -> Vec<f64> {
    let outer = bias.len();
    let sum =
        |row: &[f32], n: usize| -> f64 { (0..inner).map(|k| f64::from(row[k]) * f64::from(b[k * outer + n])).sum() };
    a.chunks_exact(inner).flat_map(|row| (0..outer).map(move |n| f64::from(bias[n]) + sum(row, n))).collect()
}

/// Shapes `(R, K, N)`. `R` is below, at and above the rows of a tile and of a block. `K` is often odd. `N` is below, at and above multiples
/// of a panel's columns.
const SHAPES: [(usize, usize, usize); 18] = [
    (1, 1, 1),
    (1, 768, 33),
    (2, 3, 31),
    (3, 193, 32),
    (4, 5, 64),
    (7, 30, 63),
    (9, 64, 65),
    (10, 1025, 32),
    (11, 17, 100),
    (29, 2049, 16),
    (50, 127, 96),
    (119, 8, 40),
    (121, 33, 47),
    (250, 66, 34),
    // Large enough for Strassen's algorithm: even and odd rows, even and odd numbers of panels, and more steps than it works on at a time.
    (32, 256, 128),
    (49, 1538, 130),
    (77, 770, 203),
    (130, 300, 192),
];

#[test]
fn every_kernel_multiplies_as_plain_loops_do() {
    let kernels = kernels(&BOTH);
    eprintln!("kernels: {:?}", kernels.iter().map(|kernel| kernel.name).collect::<Vec<_>>());
    for kernel in kernels {
        for (seed, (rows, inner, outer)) in (0..).zip(SHAPES) {
            let (a, b) = (values(seed + 1, rows * inner, 2.0), values(seed + 100, inner * outer, 0.5));
            let bias = values(seed + 200, outer, 3.0);
            let weights = PackedWeights::pack(&b, outer, Some(&bias), kernel).unwrap();
            let mut found = vec![f32::NAN; rows * outer];
            weights.multiply(&a, rows, &mut found);
            // The rounding error grows with the square root of the depth; with Strassen's algorithm it is twice as large. Rounding to bytes
            // changes each value of both matrices by at most 1/254 of the largest magnitude.
            let size = (inner as f64).sqrt();
            let allowed = match kernel.kind {
                KernelKind::F32(kernel) if strassen::is_faster(&kernel, [rows, inner, outer]) => 4e-6 * size,
                KernelKind::F32(_) => 2e-6 * size,
                KernelKind::Int8(_) => 2.0 * 0.5 * size / 100.0,
            };
            for (at, (found, expected)) in found.iter().zip(plain(&a, &b, &bias, inner)).enumerate() {
                let off = (f64::from(*found) - expected).abs();
                assert!(
                    off <= allowed + 1e-5,
                    "{} {rows}x{inner}x{outer} at {at}: {found} for {expected}",
                    kernel.name
                );
            }
        }
    }
}

#[test]
fn rows_of_one_image_do_not_change_those_of_another() {
    for kernel in kernels(&BOTH) {
        // More rows than in a block: of several images, and of one.
        for (rows_per_item, images) in [(1, 130), (20, 2), (49, 5), (130, 2)] {
            let (inner, outer) = (514, 161);
            let size = rows_per_item * inner;
            let (mut a, b) = (values(3, images * size, 2.0), values(4, inner * outer, 0.5));
            let weights = PackedWeights::pack(&b, outer, None, kernel).unwrap();
            let alone = |image: &[f32]| {
                let mut out = vec![f32::NAN; rows_per_item * outer];
                weights.multiply(image, rows_per_item, &mut out);
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let expected: Vec<_> = a.chunks_exact(size).map(alone).collect();
            a[size + 7] = f32::NAN;
            let mut out = vec![0.0; images * rows_per_item * outer];
            weights.multiply(&a, rows_per_item, &mut out);
            for (image, (found, expected)) in out.chunks_exact(rows_per_item * outer).zip(&expected).enumerate() {
                let is_same = found.iter().map(|value| value.to_bits()).eq(expected.iter().copied());
                assert_eq!(is_same, image != 1, "{}: image {image} of {rows_per_item} rows", kernel.name);
                assert_eq!(found.iter().all(|value| value.is_finite()), image != 1);
            }
        }
    }
}

#[test]
fn sums_of_bytes_are_exact() {
    for kernel in kernels(&[Precision::Int8]) {
        // Every value is a whole multiple of its scale, so that nothing is rounded, for both signs and up to the largest sums.
        let (rows, inner, outer) = (13, 259, 37);
        let whole = |seed, count| -> Vec<f32> { values(seed, count, 127.4).into_iter().map(f32::round).collect() };
        let (mut a, mut b) = (whole(1, rows * inner), whole(2, inner * outer));
        a.chunks_exact_mut(inner).for_each(|row| row[7] = 127.0);
        b[..outer].fill(-127.0);
        let weights = PackedWeights::pack(&b, outer, None, kernel).unwrap();
        let mut found = vec![f32::NAN; rows * outer];
        weights.multiply(&a, rows, &mut found);
        let expected = plain(&a, &b, &vec![0.0; outer], inner);
        assert!(expected.iter().any(|v| v.abs() > 1e5), "the sums are small");
        assert!(found.iter().zip(&expected).all(|(a, b)| (f64::from(*a) - b).abs() < 0.1), "{}", kernel.name);
    }
}

#[test]
fn kernels_of_one_precision_agree_to_the_bit_in_bytes() {
    let (rows, inner, outer) = (31, 515, 70);
    let (a, b, bias) = (values(5, rows * inner, 4.0), values(6, inner * outer, 0.1), values(7, outer, 1.0));
    let answers: Vec<Vec<u32>> = kernels(&[Precision::Int8])
        .into_iter()
        .map(|kernel| {
            let mut out = vec![0.0; rows * outer];
            PackedWeights::pack(&b, outer, Some(&bias), kernel).unwrap().multiply(&a, rows, &mut out);
            out.into_iter().map(f32::to_bits).collect()
        })
        .collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn what_is_not_finite_stays_so() {
    for kernel in kernels(&BOTH) {
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (mut a, b) = (values(1, 5 * 40, 1.0), values(2, 40 * 32, 1.0));
            a[2 * 40 + 39] = poison;
            let weights = PackedWeights::pack(&b, 32, None, kernel).unwrap();
            let mut out = vec![0.0; 5 * 32];
            weights.multiply(&a, 1, &mut out);
            for (row, values) in out.chunks_exact(32).enumerate() {
                assert_eq!(values.iter().any(|v| !v.is_finite()), row == 2, "{} row {row}", kernel.name);
            }
            assert_eq!(
                PackedWeights::pack(&[poison; 64], 32, None, kernel).is_none(),
                kernel.precision() == Precision::Int8
            );
        }
    }
}

#[test]
fn bytes_hold_a_range_symmetrically() {
    assert_eq!(scale_of([0.0, -0.0].into_iter()), (0.0, 0.0));
    let (scale, inverse) = scale_of([0.5, -2.54].into_iter());
    assert!((scale - 0.02).abs() < 1e-6);
    assert_eq!([2.54, -2.54, 0.5, 0.0].map(|v| byte(v, inverse)), [127, -127, 25, 0]);
    assert!(scale_of([1.0, f32::NAN].into_iter()).0.is_nan());
    assert!(scale_of([f32::MIN_POSITIVE / 2.0].into_iter()).1.is_finite());
}
