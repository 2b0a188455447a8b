//! Kernels for processors with AVX-512. A tile has two registers of sixteen columns and up to thirteen rows of floats or ten rows
//! of bytes, so that most of the 32 registers hold sums and a multiplication can start in every cycle. The activations are not
//! packed: each value is read from its row and copied to all lanes of a register.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::{
    _MM_HINT_T1, _mm_prefetch, _mm512_add_epi32, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::kernel::{
    F32Kernel, F32Tile, Int8Kernel, Int8Tile, KernelKind, PanelDifference, ProductKernel, for_each, for_rows,
};

/// Rows of a full tile of floats.
const F32_ROWS: usize = 13;
/// Rows of a full tile of bytes.
const INT8_ROWS: usize = 10;
/// Number of 32-bit values in a register.
const LANES: usize = 16;

/// Returns the kernels of this module that the processor can run.
pub(super) fn kernels() -> impl Iterator<Item = ProductKernel> {
    let f32 = F32Kernel { rows: F32_ROWS, steps: 1024, run: run_f32, run_difference: Some(run_f32_difference) };
    let f32 = ProductKernel { name: "avx512", kind: KernelKind::F32(f32) };
    let int8 = Int8Kernel { rows: INT8_ROWS, run: run_int8 };
    let int8 = ProductKernel { name: "avx512-vnni", kind: KernelKind::Int8(int8) };
    let has_f32 = std::arch::is_x86_feature_detected!("avx512f");
    let has_int8 = has_f32 && std::arch::is_x86_feature_detected!("avx512vnni");
    [has_f32.then_some(f32), has_int8.then_some(int8)].into_iter().flatten()
}

/// # Safety
/// The processor has AVX-512F, and the pointers are valid as [`F32Tile`] says.
#[target_feature(enable = "avx512f")]
unsafe fn run_f32(tile: &F32Tile) {
    // SAFETY: the caller guarantees the same.
    unsafe { for_rows!(rows_f32(tile, None), tile.rows => 1 2 3 4 5 6 7 8 9 10 11 12 13) }
}

/// # Safety
/// The processor has AVX-512F, and the pointers are valid as [`F32Tile`] and [`PanelDifference`] say.
#[target_feature(enable = "avx512f")]
unsafe fn run_f32_difference(tile: &F32Tile, difference: PanelDifference) {
    // SAFETY: the caller guarantees the same.
    unsafe { for_rows!(rows_f32(tile, Some(difference)), tile.rows => 1 2 3 4 5 6 7 8 9 10 11 12 13) }
}

/// # Safety
/// As for [`run_f32_difference`], and `M` is the number of the tile's rows.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn rows_f32<const M: usize>(tile: &F32Tile, difference: Option<PanelDifference>) {
    // SAFETY: all reads and writes are within the ranges that `F32Tile` and `PanelDifference` describe, which the caller guarantees to be
    // valid. Prefetching is allowed at any address.
    unsafe {
        let rows: [*const f32; M] = std::array::from_fn(|row| tile.a.add(row * tile.a_stride));
        let mut sums = [[_mm512_setzero_ps(); 2]; M];
        let (start, stride) = if tile.start.is_null() { (tile.c.cast_const(), tile.c_stride) } else { (tile.start, 0) };
        for_each!(row, M => {
            let start = start.add(row * stride);
            sums[row] = [_mm512_loadu_ps(start), _mm512_loadu_ps(start.add(LANES))];
        });
        for_each!(step, tile.steps => {
            let b = tile.b.add(step).cast::<f32>();
            let (mut left, mut right) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(LANES)));
            if let Some(PanelDifference { less, to }) = difference {
                let less = less.add(step).cast::<f32>();
                left = _mm512_sub_ps(left, _mm512_loadu_ps(less));
                right = _mm512_sub_ps(right, _mm512_loadu_ps(less.add(LANES)));
                let to = to.add(step).cast::<f32>();
                _mm512_storeu_ps(to, left);
                _mm512_storeu_ps(to.add(LANES), right);
            }
            _mm_prefetch::<_MM_HINT_T1>(tile.prefetch.add(step * tile.prefetch_stride).cast());
            for_each!(row, M => {
                let value = _mm512_set1_ps(*rows[row].add(step));
                sums[row][0] = _mm512_fmadd_ps(value, left, sums[row][0]);
                sums[row][1] = _mm512_fmadd_ps(value, right, sums[row][1]);
            });
        });
        for_each!(row, M => {
            let output = tile.c.add(row * tile.c_stride);
            _mm512_storeu_ps(output, sums[row][0]);
            _mm512_storeu_ps(output.add(LANES), sums[row][1]);
        });
    }
}

/// # Safety
/// The processor has AVX-512F and VNNI, and the pointers are valid as [`Int8Tile`] says.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn run_int8(tile: &Int8Tile) {
    // SAFETY: the caller guarantees the same.
    unsafe { for_rows!(rows_int8(tile), tile.rows => 1 2 3 4 5 6 7 8 9 10) }
}

/// # Safety
/// As for [`run_int8`], and `M` is the number of the tile's rows.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
unsafe fn rows_int8<const M: usize>(tile: &Int8Tile) {
    // SAFETY: all reads and writes are within the ranges that `Int8Tile` describes, which the caller guarantees to be valid.
    unsafe {
        let rows: [*const u32; M] = std::array::from_fn(|row| tile.a.add(row * tile.a_stride));
        let mut sums = [[_mm512_setzero_si512(); 2]; M];
        let mut b = tile.b.cast::<i32>();
        for_each!(step, tile.steps => {
            let (left, right) = (_mm512_loadu_si512(b.cast()), _mm512_loadu_si512(b.add(LANES).cast()));
            for_each!(row, M => {
                let values = _mm512_set1_epi32((*rows[row].add(step)).cast_signed());
                sums[row][0] = _mm512_dpbusd_epi32(sums[row][0], values, left);
                sums[row][1] = _mm512_dpbusd_epi32(sums[row][1], values, right);
            });
            b = b.add(2 * LANES);
        });
        for_each!(half, 2 => {
            let at = half * LANES;
            let start = _mm512_loadu_si512(tile.start.add(at).cast());
            let (scale, bias) = (_mm512_loadu_ps(tile.column_scale.add(at)), _mm512_loadu_ps(tile.bias.add(at)));
            for_each!(row, M => {
                let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(sums[row][half], start));
                let scale = _mm512_mul_ps(scale, _mm512_set1_ps(*tile.row_scale.add(row)));
                _mm512_storeu_ps(tile.c.add(row * tile.c_stride + at), _mm512_fmadd_ps(sum, scale, bias));
            });
        });
    }
}
