//! Learning without gradients: a codebook by k-means, principal components, a kernel between them, and kernel ridge
//! regression with held-out answers for each group of examples. Works on matrices alone and knows neither images nor
//! networks.

mod codebook;
mod components;
mod inverse;
mod kernel;
mod ridge;

pub use codebook::{Filters, learn_filters};
pub use components::{Components, REACH};
pub use kernel::{LENGTH, gram};
pub use ridge::{KernelFit, KernelRidge};
