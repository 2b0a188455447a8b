//! Which parts of a graph are computed by our own operators, decided before tract sees it: so the constants are packed from where they
//! were read to and are never kept twice. Each file knows one pattern; what none of them knows stays as it is.

mod attention;
mod convolution;
mod graph;
mod lookup;
mod mean;
mod norm;
mod product;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tract_onnx::pb::ModelProto;

use super::constants::Constants;
use super::product::Kernels;

/// Replaces what the patterns find by the operators of [`super::operator`]. Returns what they refer to.
pub(super) fn rewrite(model: &mut ModelProto, kernels: &Kernels) -> Constants {
    let Some(graph) = &mut model.graph else { return Constants::default() };
    norm::rewrite(graph);
    mean::rewrite(graph);
    attention::rewrite(graph);
    let filters = convolution::rewrite(graph).into_iter().map(Arc::new).collect();
    let tables = lookup::rewrite(graph).into_iter().map(Arc::new).collect();
    let weights = product::rewrite(graph, kernels).into_iter().map(Arc::new).collect();
    graph::remove_unread(graph);
    Constants { weights, tables, filters }
}
