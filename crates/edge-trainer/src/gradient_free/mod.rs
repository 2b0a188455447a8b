//! What is learned without gradients: a codebook by k-means, principal components, a kernel between them, and ridge regression on
//! that kernel, with its answers as they would be without an example's own group. Knows matrices only, neither images nor
//! networks.

mod codebook;
mod components;
mod inverse;
mod kernel;
mod ridge;

pub use codebook::{Filters, learn_filters};
pub use components::{Components, REACH};
pub use kernel::{LENGTH, gram};
pub use ridge::{Fitted, KernelRidge};
