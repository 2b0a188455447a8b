//! Replaces parts of an ONNX graph by our own operators. This happens before tract reads the graph, so that the constants are
//! packed directly from the file's contents and are never in memory twice. Each pattern has a file of its own. Nodes that match
//! no pattern stay as they are.

mod attention;
mod clip;
mod convolution;
mod depthwise;
mod graph;
mod lookup;
mod mean;
mod norm;
mod product;
#[cfg(test)]
mod tests;
mod windows;

use std::sync::Arc;

use tract_onnx::pb::ModelProto;

use super::constants::Constants;
use super::product::ProductKernels;

/// Replaces the patterns in a graph by the operators of [`super::operator`]. Returns the operators' constants.
pub(super) fn rewrite(model: &mut ModelProto, kernels: &ProductKernels) -> Constants {
    let Some(graph) = &mut model.graph else { return Constants::default() };
    norm::rewrite(graph);
    mean::rewrite(graph);
    attention::rewrite(graph);
    let depthwise = depthwise::rewrite(graph).into_iter().map(Arc::new).collect();
    let filters = convolution::rewrite(graph).into_iter().map(Arc::new).collect();
    let tables = lookup::rewrite(graph).into_iter().map(Arc::new).collect();
    let weights = product::rewrite(graph, kernels).into_iter().map(Arc::new).collect();
    graph::remove_unread(graph);
    Constants { weights, tables, filters, depthwise }
}
