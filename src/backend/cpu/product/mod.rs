//! Products of activations with constant matrices: `[R, K] x [K, N] + [N]`, with all of the processor's width.
//!
//! They are nine tenths of a transformer's time, and their right side never changes: it is packed once, in the order in which
//! a kernel reads it. Here belong the packing, the kernels and what chooses among them; which products of a graph are computed
//! so is decided in [`super::rewrite`]. A processor for which there is no kernel leaves them to tract.

mod avx2;
mod avx512;
mod kernel;
mod op;
mod quantize;
#[cfg(test)]
mod tests;
mod weights;

pub(super) use kernel::Kernels;
pub(super) use op::{ConstantProduct, INDEX, NAME, OUTER, register};
pub(super) use weights::Weights;
