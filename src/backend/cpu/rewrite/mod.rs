//! Which parts of a graph are computed by our own operators, decided before tract sees it: so the constants are packed from where they
//! were read to and are never kept twice. Each file knows one pattern; what none of them knows stays as it is.

mod attention;
mod graph;
mod norm;
mod product;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tract_onnx::pb::ModelProto;

use super::product::{Kernels, Weights};

/// Replaces what the patterns find by the operators of [`super::operator`]. Returns the weights that they refer to by their place.
pub(super) fn rewrite(model: &mut ModelProto, kernels: &Kernels) -> Vec<Arc<Weights>> {
    let Some(graph) = &mut model.graph else { return Vec::new() };
    norm::rewrite(graph);
    attention::rewrite(graph);
    let weights = product::rewrite(graph, kernels);
    graph::remove_unread(graph);
    weights
}
