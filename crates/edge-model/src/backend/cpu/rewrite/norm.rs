//! Replaces the pattern of a layer norm over the last axis, with a constant scale and shift.

use tract_onnx::pb::GraphProto;

use super::super::operator::{EPSILON, ROW_NORM};
use super::graph::{GraphIndex, attribute, float};

/// ONNX's default of the attribute `epsilon` of `LayerNormalization`.
const DEFAULT_EPSILON: f32 = 1e-5;

/// Replaces each pattern in the graph by [`ROW_NORM`].
pub(super) fn rewrite(graph: &mut GraphProto) {
    let index = GraphIndex::of(graph);
    let found: Vec<(usize, f32)> = index
        .nodes("LayerNormalization")
        .filter(|(_, node)| {
            // If scale and shift have one axis, the norm is over the last axis only.
            let lengths: Vec<_> =
                node.input[1..].iter().map(|name| index.constant(name).map(|c| c.dims.clone())).collect();
            matches!(lengths.as_slice(), [Some(scale), Some(shift)] if scale.len() == 1 && scale == shift)
                && node.output.len() == 1
                && attribute(node, "axis").is_none_or(|axis| axis.i == -1)
        })
        .map(|(at, node)| (at, attribute(node, "epsilon").map_or(DEFAULT_EPSILON, |epsilon| epsilon.f)))
        .collect();
    for (at, epsilon) in found {
        let node = &mut graph.node[at];
        node.op_type = ROW_NORM.to_owned();
        node.attribute = vec![float(EPSILON, epsilon)];
    }
}
