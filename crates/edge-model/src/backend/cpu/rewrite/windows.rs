//! Reads the windows and the filters of a `Conv` node, and replaces the node by one of our operators.

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::super::operator::{INDEX, WINDOWS};
use super::super::windows::ConvWindows;
use super::clip::Clip;
use super::graph::{GraphIndex, attribute, floats, integer, integers_attribute};

/// Returns the windows of a `Conv` node that sees `channels` channels through windows of `size`; `None` if they are dilated, or if some
/// might see nothing but zeros.
pub(super) fn windows(node: &NodeProto, channels: usize, size: [usize; 2]) -> Option<ConvWindows> {
    let ints = |name| attribute(node, name).map(|attribute| attribute.ints.as_slice());
    let is_dilated = ints("dilations").is_some_and(|dilations| dilations.iter().any(|dilation| *dilation != 1));
    let pair = |values: &[i64]| -> Option<[usize; 2]> {
        let &[down, across] = values else { return None };
        Some([usize::try_from(down).ok()?, usize::try_from(across).ok()?])
    };
    let stride = ints("strides").map_or(Some([1; 2]), pair)?;
    let (before, after) = match ints("pads") {
        None => ([0; 2], [0; 2]),
        Some(&[top, left, bottom, right]) => (pair(&[top, left])?, pair(&[bottom, right])?),
        Some(_) => return None,
    };
    let is_inside = (0..2).all(|axis| before[axis] < size[axis] && after[axis] < size[axis]);
    let is_explicit = match attribute(node, "auto_pad").map(|auto| auto.s.as_slice()) {
        None | Some(b"" | b"NOTSET") => true,
        Some(b"VALID") => (before, after) == ([0; 2], [0; 2]),
        Some(_) => false,
    };
    (is_explicit && is_inside && !is_dilated).then_some(ConvWindows { channels, size, stride, before, after })
}

/// Returns the weights of a `Conv` node with `count` filters; behind those of each filter stands its bias.
pub(super) fn filter_values(
    index: &GraphIndex<'_>,
    node: &NodeProto,
    weights: &TensorProto,
    count: usize,
) -> Option<Vec<f32>> {
    let weights = floats(weights)?;
    let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => floats(index.constant(name)?).filter(|bias| bias.len() == count)?,
        None => vec![0.0; count],
    };
    let length = (weights.len() / count.max(1)).max(1);
    let rows = weights.chunks_exact(length).zip(&bias);
    Some(rows.flat_map(|(row, bias)| row.iter().chain([bias]).copied()).collect())
}

/// Replaces the `Conv` node at `at`, and the `Clip` behind it, by an operator whose filters have the index `index`.
pub(super) fn replace(
    graph: &mut GraphProto,
    (at, clip): (usize, Option<Clip>),
    operator: &str,
    index: usize,
    windows: ConvWindows,
) {
    if let Some(clip) = clip {
        clip.move_into(graph, at);
    }
    let ConvWindows { channels, size, stride, before, after } = windows;
    let shape: Vec<usize> = [channels].into_iter().chain([size, stride, before, after].concat()).collect();
    let node = &mut graph.node[at];
    operator.clone_into(&mut node.op_type);
    node.input.truncate(1);
    node.attribute = vec![integer(INDEX, index), integers_attribute(WINDOWS, &shape)];
}
