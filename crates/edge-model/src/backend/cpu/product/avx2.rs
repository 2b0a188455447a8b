//! Kernels for processors with AVX2. A tile has three rows of four registers of eight columns, so its sums take twelve of the 16 registers.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::{
    _MM_HINT_T1, _mm_prefetch, _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_dpbusd_avx_epi32, _mm256_dpbusd_epi32,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_storeu_ps,
};

use super::kernel::{F32Kernel, F32Tile, Int8Kernel, Int8Tile, KernelKind, ProductKernel, for_each, for_rows};

/// Rows of a full tile.
const ROWS: usize = 3;
/// Number of 32-bit values in a register.
const LANES: usize = 8;
/// Registers in a row of a tile.
const REGISTERS: usize = 4;

/// Returns the kernels of this module that the processor can run.
pub(super) fn kernels() -> impl Iterator<Item = ProductKernel> {
    // 192 steps of a panel are 24 KiB, which stay in the first-level cache.
    let f32 = F32Kernel { rows: ROWS, steps: 192, run: run_f32, run_difference: None };
    let f32 = ProductKernel { name: "avx2", kind: KernelKind::F32(f32) };
    let int8 = |name, run| ProductKernel { name, kind: KernelKind::Int8(Int8Kernel { rows: ROWS, run }) };
    let has_f32 = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
    let has_vnni = std::arch::is_x86_feature_detected!("avxvnni");
    let has_avx512 =
        std::arch::is_x86_feature_detected!("avx512vnni") && std::arch::is_x86_feature_detected!("avx512vl");
    [
        has_f32.then_some(f32),
        (has_f32 && has_vnni).then(|| int8("avx-vnni", run_int8_avx as unsafe fn(&_))),
        // This kernel uses the AVX-512 encoding of the AVX-VNNI instruction. It is never the fastest kernel; tests use it on
        // processors without AVX-VNNI.
        (has_f32 && has_avx512).then(|| int8("avx512vl-vnni", run_int8_avx512)),
    ]
    .into_iter()
    .flatten()
}

/// # Safety
/// The processor has AVX2 and FMA, and the pointers are valid as [`F32Tile`] says.
#[target_feature(enable = "avx2,fma")]
unsafe fn run_f32(tile: &F32Tile) {
    // SAFETY: the caller guarantees the same.
    unsafe { for_rows!(rows_f32(tile), tile.rows => 1 2 3) }
}

/// # Safety
/// The processor has AVX2 and FMA, the pointers are valid as [`F32Tile`] says, and `M` is the number of the tile's rows.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn rows_f32<const M: usize>(tile: &F32Tile) {
    // SAFETY: all reads and writes are within the ranges that `F32Tile` describes, which the caller guarantees to be valid. Prefetching is
    // allowed at any address.
    unsafe {
        let rows: [*const f32; M] = std::array::from_fn(|row| tile.a.add(row * tile.a_stride));
        let mut sums = [[_mm256_setzero_ps(); REGISTERS]; M];
        let (start, stride) = if tile.start.is_null() { (tile.c.cast_const(), tile.c_stride) } else { (tile.start, 0) };
        for_each!(row, M => {
            for_each!(register, REGISTERS => {
                sums[row][register] = _mm256_loadu_ps(start.add(row * stride + register * LANES));
            });
        });
        let mut b = tile.b.cast::<f32>();
        for_each!(step, tile.steps => {
            let mut values = [_mm256_setzero_ps(); M];
            for_each!(row, M => {
                values[row] = _mm256_set1_ps(*rows[row].add(step));
            });
            _mm_prefetch::<_MM_HINT_T1>(tile.prefetch.add(step * tile.prefetch_stride).cast());
            for_each!(register, REGISTERS => {
                let columns = _mm256_loadu_ps(b.add(register * LANES));
                for_each!(row, M => {
                    sums[row][register] = _mm256_fmadd_ps(values[row], columns, sums[row][register]);
                });
            });
            b = b.add(REGISTERS * LANES);
        });
        for_each!(row, M => {
            for_each!(register, REGISTERS => {
                _mm256_storeu_ps(tile.c.add(row * tile.c_stride + register * LANES), sums[row][register]);
            });
        });
    }
}

macro_rules! int8 {
    ($run:ident, $rows:ident, $features:literal, $multiply:ident) => {
        /// # Safety
        /// The processor has the target features of this function, and the pointers are valid as [`Int8Tile`] says.
        #[target_feature(enable = $features)]
        unsafe fn $run(tile: &Int8Tile) {
            // SAFETY: the caller guarantees the same.
            unsafe { for_rows!($rows(tile), tile.rows => 1 2 3) }
        }

        /// # Safety
        /// The processor has the target features of this function, the pointers are valid as [`Int8Tile`] says, and `M` is the number of
        /// the tile's rows.
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn $rows<const M: usize>(tile: &Int8Tile) {
            // SAFETY: all reads and writes are within the ranges that `Int8Tile` describes, which the caller guarantees to be valid.
            unsafe {
                let rows: [*const u32; M] = std::array::from_fn(|row| tile.a.add(row * tile.a_stride));
                let mut sums = [[_mm256_setzero_si256(); REGISTERS]; M];
                let mut b = tile.b.cast::<i32>();
                for_each!(step, tile.steps => {
                    let mut values = [_mm256_setzero_si256(); M];
                    for_each!(row, M => {
                        values[row] = _mm256_set1_epi32((*rows[row].add(step)).cast_signed());
                    });
                    for_each!(register, REGISTERS => {
                        let columns = _mm256_loadu_si256(b.add(register * LANES).cast());
                        for_each!(row, M => {
                            sums[row][register] = $multiply(sums[row][register], values[row], columns);
                        });
                    });
                    b = b.add(REGISTERS * LANES);
                });
                for_each!(register, REGISTERS => {
                    let at = register * LANES;
                    let start = _mm256_loadu_si256(tile.start.add(at).cast());
                    let (scale, bias) =
                        (_mm256_loadu_ps(tile.column_scale.add(at)), _mm256_loadu_ps(tile.bias.add(at)));
                    for_each!(row, M => {
                        let sum = _mm256_cvtepi32_ps(_mm256_add_epi32(sums[row][register], start));
                        let scale = _mm256_mul_ps(scale, _mm256_set1_ps(*tile.row_scale.add(row)));
                        _mm256_storeu_ps(tile.c.add(row * tile.c_stride + at), _mm256_fmadd_ps(sum, scale, bias));
                    });
                });
            }
        }
    };
}

int8!(run_int8_avx, rows_int8_avx, "avx2,fma,avxvnni", _mm256_dpbusd_avx_epi32);
int8!(run_int8_avx512, rows_int8_avx512, "avx2,fma,avx512vnni,avx512vl", _mm256_dpbusd_epi32);
