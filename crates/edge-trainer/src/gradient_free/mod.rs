//! Learning without gradients: a codebook by k-means, principal components, a kernel between components, and kernel
//! ridge regression with held-out predictions. The algorithms work on matrices, independently of images and networks.

mod codebook;
mod components;
mod kernel;
mod ridge;
mod triangular;

pub use codebook::{Filters, learn_filters};
pub use components::{Components, REACH};
pub use kernel::gram;
pub use ridge::{KernelFit, KernelRidge};
