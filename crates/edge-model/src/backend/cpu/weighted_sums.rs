//! Weighted sums of shifted rows, for depthwise convolutions. Sums stay in registers until they are complete, which the compiler does not do
//! by itself.

use super::product::for_each;
use super::rows::VectorWidth;

/// Number of sums that are computed at a time.
pub(super) const BLOCK: usize = 64;

/// Computes `sums[i] = start + sum over j of weights[j] * values[i + shifts[j]]`.
///
/// # Panics
/// If the number of sums is not a multiple of [`BLOCK`], if there are more weights than shifts, or if `values` is too short.
pub(super) fn weighted_sums(
    width: VectorWidth,
    values: &[f32],
    (shifts, weights): (&[usize], &[f32]),
    start: f32,
    sums: &mut [f32],
) {
    let largest = shifts.iter().copied().max().unwrap_or_default();
    assert!(sums.len().is_multiple_of(BLOCK) && largest + sums.len() <= values.len() && weights.len() <= shifts.len());
    // SAFETY: the assertion proves that all reads are inside `values` and all writes inside `sums`. `VectorWidth::available` makes a width
    // only if the processor has its features.
    unsafe {
        match width {
            #[cfg(target_arch = "x86_64")]
            VectorWidth::Avx512 => x86::avx512(values, (shifts, weights), start, sums),
            #[cfg(target_arch = "x86_64")]
            VectorWidth::Avx2 => x86::avx2(values, (shifts, weights), start, sums),
            VectorWidth::Plain => all_blocks::<f32, BLOCK>(values, (shifts, weights), start, sums),
        }
    }
}

/// A vector register, or a single number.
trait Lanes: Copy {
    const COUNT: usize;
    /// Copies a number to all lanes.
    ///
    /// # Safety
    /// The processor has the register.
    unsafe fn all(value: f32) -> Self;
    /// # Safety
    /// The processor has the register, and [`Self::COUNT`] numbers can be read.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// The processor has the register, and [`Self::COUNT`] numbers can be written.
    unsafe fn store(self, to: *mut f32);
    /// Returns `self + weight * value`.
    ///
    /// # Safety
    /// The processor has the register.
    unsafe fn plus(self, weight: Self, value: Self) -> Self;
}

/// # Safety
/// The processor has the register `V`, `REGISTERS` of them hold [`BLOCK`] numbers, and the arguments are as [`weighted_sums`] demands.
#[inline(always)]
unsafe fn all_blocks<V: Lanes, const REGISTERS: usize>(
    values: &[f32],
    (shifts, weights): (&[usize], &[f32]),
    start: f32,
    sums: &mut [f32],
) {
    const { assert!(V::COUNT * REGISTERS == BLOCK) };
    let mut first = 0;
    while first < sums.len() {
        // SAFETY: the caller guarantees it.
        unsafe {
            let mut block = [V::all(start); REGISTERS];
            for_each!(at, weights.len() => {
                let from = values.as_ptr().add(first + *shifts.get_unchecked(at));
                let weight = V::all(*weights.get_unchecked(at));
                for_each!(register, REGISTERS => {
                    block[register] = block[register].plus(weight, V::load(from.add(register * V::COUNT)));
                });
            });
            for_each!(register, REGISTERS => {
                block[register].store(sums.as_mut_ptr().add(first + register * V::COUNT));
            });
        }
        first += BLOCK;
    }
}

impl Lanes for f32 {
    const COUNT: usize = 1;
    #[inline(always)]
    unsafe fn all(value: f32) -> Self {
        value
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller guarantees it.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller guarantees it.
        unsafe { *to = self }
    }
    #[inline(always)]
    unsafe fn plus(self, weight: Self, value: Self) -> Self {
        self + weight * value
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, all_blocks};

    macro_rules! lanes {
        ($register:ty, $count:literal, $all:ident, $load:ident, $store:ident, $fma:ident) => {
            impl Lanes for $register {
                const COUNT: usize = $count;
                #[inline(always)]
                unsafe fn all(value: f32) -> Self {
                    // SAFETY: the caller guarantees it.
                    unsafe { $all(value) }
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: the caller guarantees it.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: the caller guarantees it.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn plus(self, weight: Self, value: Self) -> Self {
                    // SAFETY: the caller guarantees it.
                    unsafe { $fma(weight, value, self) }
                }
            }
        };
    }
    lanes!(__m512, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps);
    lanes!(__m256, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps);

    /// # Safety
    /// The processor has AVX-512F, and the arguments are as [`super::weighted_sums`] demands.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512(values: &[f32], filter: (&[usize], &[f32]), start: f32, sums: &mut [f32]) {
        // SAFETY: the caller guarantees it.
        unsafe { all_blocks::<__m512, 4>(values, filter, start, sums) }
    }

    /// # Safety
    /// The processor has AVX2 and FMA, and the arguments are as [`super::weighted_sums`] demands.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(values: &[f32], filter: (&[usize], &[f32]), start: f32, sums: &mut [f32]) {
        // SAFETY: the caller guarantees it.
        unsafe { all_blocks::<__m256, 8>(values, filter, start, sums) }
    }
}
