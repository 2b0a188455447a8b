//! Products of matrices, `[R, K] x [K, N]`, with all of the processor's width.
//!
//! Those with a constant matrix are nine tenths of a transformer's time, and it never changes: it is packed once, in the order in which
//! a kernel reads it. Here belong the packing, the kernels and what chooses among them. A processor for which there is no kernel leaves
//! its products to tract.

mod avx2;
mod avx512;
mod kernel;
mod multiply;
mod quantize;
mod strassen;
#[cfg(test)]
mod tests;
mod weights;

pub(super) use kernel::{COLUMNS, Kernels};
pub(super) use multiply::{F32Product, Rows, Step};
pub(super) use weights::{Packed, Weights};
