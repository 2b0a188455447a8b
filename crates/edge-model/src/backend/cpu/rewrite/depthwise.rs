//! Replaces the pattern of a convolution in which each channel has one filter, and of a `Clip` behind it.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::depthwise::{DepthwiseFilters, DepthwiseWindows};
use super::super::operator::{DEPTHWISE_CONV, INDEX, WINDOWS};
use super::super::rows::UNLIMITED;
use super::clip::Clip;
use super::graph::{GraphIndex, attribute, floats, integer, integers_attribute};

/// A match of the pattern.
struct Pattern {
    filters: DepthwiseFilters,
    clip: Option<Clip>,
}

/// Replaces each pattern in the graph by [`DEPTHWISE_CONV`]. Returns the filters, in the order of their indices.
pub(super) fn rewrite(graph: &mut GraphProto) -> Vec<DepthwiseFilters> {
    let index = GraphIndex::of(graph);
    let found: Vec<_> = index.nodes("Conv").filter_map(|(at, node)| Some((at, pattern(&index, node)?))).collect();
    let mut all = Vec::with_capacity(found.len());
    for (at, Pattern { filters, clip }) in found {
        let DepthwiseWindows { channels, size, stride, before, after } = filters.windows();
        let shape = [[channels, 0], size, stride, before, after].concat();
        if let Some(clip) = clip {
            clip.move_into(graph, at);
        }
        let node = &mut graph.node[at];
        node.op_type = DEPTHWISE_CONV.to_owned();
        node.input.truncate(1);
        node.attribute = vec![integer(INDEX, all.len()), integers_attribute(WINDOWS, &shape)];
        all.push(filters);
    }
    all
}

fn pattern(index: &GraphIndex<'_>, node: &NodeProto) -> Option<Pattern> {
    let constant = index.constant(node.input.get(1)?)?;
    let &[channels, 1, height, width] = constant.dims.as_slice() else { return None };
    let ints = |name| attribute(node, name).map(|attribute| attribute.ints.as_slice());
    let is_plain = ints("dilations").is_none_or(|dilations| dilations.iter().all(|dilation| *dilation == 1))
        && attribute(node, "auto_pad").is_none_or(|auto| matches!(auto.s.as_slice(), b"" | b"NOTSET"))
        && attribute(node, "group").is_some_and(|group| group.i == channels);
    if !is_plain || channels < 2 {
        return None;
    }
    let pair = |values: &[i64]| -> Option<[usize; 2]> {
        let &[down, across] = values else { return None };
        Some([usize::try_from(down).ok()?, usize::try_from(across).ok()?])
    };
    let size = pair(&[height, width])?;
    let stride = ints("strides").map_or(Some([1; 2]), pair)?;
    let (before, after) = match ints("pads") {
        None => ([0; 2], [0; 2]),
        Some(&[top, left, bottom, right]) => (pair(&[top, left])?, pair(&[bottom, right])?),
        Some(_) => return None,
    };
    // Windows that lie in the zeros alone would need rows behind the padded map.
    if (0..2).any(|axis| before[axis] >= size[axis] || after[axis] >= size[axis]) {
        return None;
    }
    let channels = usize::try_from(channels).ok()?;
    let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => floats(index.constant(name)?).filter(|bias| bias.len() == channels)?,
        None => vec![0.0; channels],
    };
    let clip = Clip::behind(index, node);
    let limits = clip.as_ref().map_or(UNLIMITED, |clip| clip.limits);
    let weights = floats(constant)?;
    let rows = weights.chunks_exact((size[0] * size[1]).max(1)).zip(&bias);
    let values: Vec<f32> = rows.flat_map(|(row, bias)| row.iter().chain([bias]).copied()).collect();
    let windows = DepthwiseWindows { channels, size, stride, before, after };
    let filters = DepthwiseFilters::new(values.into(), windows, limits)?;
    Some(Pattern { filters, clip })
}
