//! Scaled dot-product attention as our trainer and most exporters write it: each side reshaped to heads and transposed, the products
//! multiplied with a constant, perhaps a constant mask added, softmax, transposed back and reshaped.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::operator::{FACTOR, HEADS, HEADS_ATTENTION};
use super::graph::{Index, attribute, float, integer, integers};

pub(super) fn rewrite(graph: &mut GraphProto) {
    let index = Index::of(graph);
    let found: Vec<_> = index.nodes("Softmax").filter_map(|(_, softmax)| around(&index, softmax)).collect();
    for (at, node) in found {
        graph.node[at] = node;
    }
}

/// The operator for the attention around a softmax, and the place of the node that it replaces.
fn around(index: &Index<'_>, softmax: &NodeProto) -> Option<(usize, NodeProto)> {
    if attribute(softmax, "axis").is_some_and(|axis| axis.i != -1 && axis.i != 3) {
        return None;
    }
    let mut scores = softmax.input.first()?.as_str();
    let mut mask = None;
    if let Some(add) = index.writer(scores, "Add") {
        let [a, b] = add.input.as_slice() else { return None };
        let (rest, constant) = if index.constant(b).is_some() { (a, b) } else { (b, a) };
        // One mask for all examples and heads.
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
    let is_alike = [&keys, &values].iter().all(|side| side.shape[2..] == [count, width]);
    let fits = is_alike
        && softmax.output.first() == Some(weights)
        && permutation(back) == [0, 2, 1, 3]
        && all == count * width;
    if !fits || count < 1 {
        return None;
    }
    let mut node = joined.clone();
    node.op_type = HEADS_ATTENTION.to_owned();
    node.input = vec![queries.of, keys.of, values.of];
    node.input.extend(mask);
    node.attribute = vec![integer(HEADS, usize::try_from(count).ok()?), float(FACTOR, factor)];
    Some((at, node))
}

/// What was divided into heads.
struct Side {
    of: String,
    /// `[N, T, heads, width]`, where `N` and `T` may be open.
    shape: Vec<i64>,
}

fn heads(index: &Index<'_>, value: &str, order: &[i64]) -> Option<Side> {
    let transpose = index.writer(value, "Transpose").filter(|node| permutation(node) == order)?;
    let reshape = index.writer(transpose.input.first()?, "Reshape")?;
    let shape = integers(index.constant(reshape.input.get(1)?)?)?;
    let of = reshape.input.first()?.clone();
    (shape.len() == 4).then_some(Side { of, shape })
}

fn permutation(node: &NodeProto) -> &[i64] {
    attribute(node, "perm").map_or(&[], |perm| &perm.ints)
}
