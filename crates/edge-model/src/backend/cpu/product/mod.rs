//! Matrix products `[R, K] x [K, N]` on x86 processors with AVX2 or AVX-512.
//!
//! Products with a constant matrix take nine tenths of a transformer's time. The constant matrix is packed once, in the order in
//! which a kernel reads it. This module owns the packing, the kernels and their choice. On a processor without a kernel, tract
//! computes the products.
//!
//! Imports run one way: `weights` -> `strassen` -> `multiply` -> `kernel`, and `weights` -> `available` -> `avx512`, `avx2` -> `kernel`.

mod available;
mod avx2;
mod avx512;
mod kernel;
mod multiply;
mod quantize;
mod strassen;
#[cfg(test)]
mod tests;
mod weights;

pub(super) use available::ProductKernels;
pub(super) use kernel::{COLUMNS, F32Kernel, PanelStep, for_each};
pub(super) use multiply::MatrixRows;
pub(super) use weights::{PackedWeights, WeightParts};
