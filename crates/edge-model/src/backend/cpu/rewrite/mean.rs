//! Replaces a mean over one axis whose output lacks that axis (no `keepdims`). If a mean over the next axis feeds it, one operator computes
//! both.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::operator::{AXES, AXIS, AXIS_MEAN};
use super::graph::{GraphIndex, attribute, integer};

/// A node that is to become an [`AXIS_MEAN`].
struct Found {
    /// Index of the node.
    at: usize,
    input: String,
    /// The first axis, and the number of axes.
    axes: [usize; 2],
}

/// Replaces each pattern in the graph by [`AXIS_MEAN`].
pub(super) fn rewrite(graph: &mut GraphProto) {
    let index = GraphIndex::of(graph);
    let found: Vec<Found> = index.nodes("ReduceMean").filter_map(|(at, node)| pattern(&index, at, node)).collect();
    for Found { at, input, axes: [first, count] } in found {
        let node = &mut graph.node[at];
        node.op_type = AXIS_MEAN.to_owned();
        node.input = vec![input];
        node.attribute = vec![integer(AXIS, first), integer(AXES, count)];
    }
}

/// Returns what the node at index `at` becomes if it matches the pattern. The first of two means is also found by itself; where nothing else
/// reads it, it is removed with the other unread nodes.
fn pattern(index: &GraphIndex<'_>, at: usize, node: &NodeProto) -> Option<Found> {
    let (axis, input) = (axis(node)?, node.input.first()?);
    let before = index.writer(input, "ReduceMean").filter(|before| self::axis(before) == Some(axis + 1));
    let (input, count) = before.map_or((input, 1), |before| (&before.input[0], 2));
    Some(Found { at, input: input.clone(), axes: [axis, count] })
}

/// The axis over which a node takes the mean, if it is one axis that the output lacks.
fn axis(node: &NodeProto) -> Option<usize> {
    let lacks = attribute(node, "keepdims").is_some_and(|keep| keep.i == 0);
    let &[axis] = attribute(node, "axes")?.ints.as_slice() else { return None };
    usize::try_from(axis).ok().filter(|_| lacks && node.input.len() == 1)
}
