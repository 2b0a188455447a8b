//! Replaces the pattern of a mean over one axis without `keepdims`: the output lacks that axis.

use tract_onnx::pb::GraphProto;

use super::super::operator::{AXIS, AXIS_MEAN};
use super::graph::{GraphIndex, attribute, integer};

/// Replaces each pattern in the graph by [`AXIS_MEAN`].
pub(super) fn rewrite(graph: &mut GraphProto) {
    let index = GraphIndex::of(graph);
    let axis = |axes: &[i64]| match axes {
        [axis] => usize::try_from(*axis).ok(),
        _ => None,
    };
    let found: Vec<(usize, usize)> = index
        .nodes("ReduceMean")
        .filter(|(_, node)| node.input.len() == 1 && attribute(node, "keepdims").is_some_and(|keep| keep.i == 0))
        .filter_map(|(at, node)| Some((at, axis(&attribute(node, "axes")?.ints)?)))
        .collect();
    for (at, axis) in found {
        let node = &mut graph.node[at];
        node.op_type = AXIS_MEAN.to_owned();
        node.attribute = vec![integer(AXIS, axis)];
    }
}
