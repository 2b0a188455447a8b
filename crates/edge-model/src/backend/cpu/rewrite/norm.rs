//! Layer norm over the last axis, with constant scale and shift.

use tract_onnx::pb::GraphProto;

use super::super::operator::{EPSILON, ROW_NORM};
use super::graph::{Index, attribute, float};

/// What ONNX takes where the node does not say.
const DEFAULT_EPSILON: f32 = 1e-5;

pub(super) fn rewrite(graph: &mut GraphProto) {
    let index = Index::of(graph);
    let found: Vec<(usize, f32)> = index
        .nodes("LayerNormalization")
        .filter(|(_, node)| {
            // Scale and shift of one length are those of the last axis alone.
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
