//! Replaces the pattern of scaled dot-product attention, as our trainer and most exporters write it. Queries, keys and values are
//! reshaped to heads and transposed. The products of queries and keys are multiplied by a constant, and an optional constant mask
//! is added. Then come softmax, the product with the values, a transposition and a reshape.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::operator::{FACTOR, HEADS, HEADS_ATTENTION};
use super::graph::{GraphIndex, attribute, float, integer, integers};

/// Replaces each pattern in the graph by [`HEADS_ATTENTION`].
pub(super) fn rewrite(graph: &mut GraphProto) {
    let index = GraphIndex::of(graph);
    let found: Vec<_> = index.nodes("Softmax").filter_map(|(_, softmax)| attention(&index, softmax)).collect();
    for (at, node) in found {
        graph.node[at] = node;
    }
}

/// Returns the operator for the attention around a softmax, and the index of the node that it replaces.
fn attention(index: &GraphIndex<'_>, softmax: &NodeProto) -> Option<(usize, NodeProto)> {
    if attribute(softmax, "axis").is_some_and(|axis| axis.i != -1 && axis.i != 3) {
        return None;
    }
    let mut scores = softmax.input.first()?.as_str();
    let mut mask = None;
    if let Some(add) = index.writer(scores, "Add") {
        let [a, b] = add.input.as_slice() else { return None };
        let (rest, constant) = if index.constant(b).is_some() { (a, b) } else { (b, a) };
        // The mask must be the same for all examples and heads.
        let [of_all @ .., _, _] = index.constant(constant)?.dims.as_slice() else { return None };
        if of_all.iter().any(|dim| *dim != 1) {
            return None;
        }
        (scores, mask) = (rest, Some(constant.clone()));
    }
    let scaled = index.writer(scores, "Mul")?;
    let products = scaled.input.iter().find_map(|input| index.writer(input, "MatMul"))?;
    let factor = index.other_scalar(scaled, products.output.first()?)?;
    let [queries, keys] = products.input.as_slice() else { return None };
    let (_, weighted) = index.only_reader(softmax, "MatMul")?;
    let [weights, values] = weighted.input.as_slice() else { return None };
    let (_, back) = index.only_reader(weighted, "Transpose")?;
    let (at, joined) = index.only_reader(back, "Reshape")?;
    let (queries, keys, values) = (
        heads(index, queries, &[0, 2, 1, 3])?,
        heads(index, keys, &[0, 2, 3, 1])?,
        heads(index, values, &[0, 2, 1, 3])?,
    );
    let &[_, _, count, width] = queries.shape.as_slice() else { return None };
    let &[_, _, all] = integers(index.constant(joined.input.get(1)?)?)?.as_slice() else { return None };
    let same_heads = [&keys, &values].iter().all(|side| side.shape[2..] == [count, width]);
    let fits = same_heads
        && softmax.output.first() == Some(weights)
        && permutation(back) == [0, 2, 1, 3]
        && all == count * width;
    if !fits || count < 1 {
        return None;
    }
    let mut node = joined.clone();
    node.op_type = HEADS_ATTENTION.to_owned();
    node.input = vec![queries.value, keys.value, values.value];
    node.input.extend(mask);
    node.attribute = vec![integer(HEADS, usize::try_from(count).ok()?), float(FACTOR, factor)];
    Some((at, node))
}

/// Queries, keys or values before they are divided into heads.
struct AttentionSide {
    /// Name of the value in the graph.
    value: String,
    /// The shape with heads, `[N, T, heads, width]`; `N` and `T` may be unknown.
    shape: Vec<i64>,
}

fn heads(index: &GraphIndex<'_>, value: &str, order: &[i64]) -> Option<AttentionSide> {
    let transpose = index.writer(value, "Transpose").filter(|node| permutation(node) == order)?;
    let reshape = index.writer(transpose.input.first()?, "Reshape")?;
    let shape = integers(index.constant(reshape.input.get(1)?)?)?;
    let value = reshape.input.first()?.clone();
    (shape.len() == 4).then_some(AttentionSide { value, shape })
}

fn permutation(node: &NodeProto) -> &[i64] {
    attribute(node, "perm").map_or(&[], |perm| &perm.ints)
}
