//! Replaces the pattern of a convolution in which each channel has one filter, and of a `Clip` behind it.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::depthwise::{DepthwiseFilters, DepthwiseWindows};
use super::super::operator::{DEPTHWISE_CONV, INDEX, WINDOWS};
use super::graph::{GraphIndex, attribute, floats, integer, integers_attribute};

/// A match of the pattern.
struct Pattern {
    filters: DepthwiseFilters,
    /// Index of the `Clip` node, if there is one, and the name of its output.
    clip: Option<(usize, String)>,
}

/// Replaces each pattern in the graph by [`DEPTHWISE_CONV`]. Returns the filters, in the order of their indices.
pub(super) fn rewrite(graph: &mut GraphProto) -> Vec<DepthwiseFilters> {
    let index = GraphIndex::of(graph);
    let found: Vec<_> = index.nodes("Conv").filter_map(|(at, node)| Some((at, pattern(&index, node)?))).collect();
    let mut all = Vec::with_capacity(found.len());
    for (at, Pattern { filters, clip }) in found {
        let DepthwiseWindows { channels, size, stride, before, after } = filters.windows();
        let shape = [[channels, 0], size, stride, before, after].concat();
        if let Some((clip, output)) = clip {
            // Nothing reads the clip any longer, so it is removed with the other unread nodes.
            graph.node[clip].output = vec![format!("{output} of {DEPTHWISE_CONV}")];
            graph.node[at].output = vec![output];
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
    let clip = clip(index, node);
    let limits = clip.as_ref().map_or([f32::NEG_INFINITY, f32::INFINITY], |(_, _, limits)| *limits);
    let weights = floats(constant)?;
    let rows = weights.chunks_exact((size[0] * size[1]).max(1)).zip(&bias);
    let values: Vec<f32> = rows.flat_map(|(row, bias)| row.iter().chain([bias]).copied()).collect();
    let windows = DepthwiseWindows { channels, size, stride, before, after };
    let filters = DepthwiseFilters::new(values.into(), windows, limits)?;
    Some(Pattern { filters, clip: clip.map(|(at, output, _)| (at, output)) })
}

/// Returns the `Clip` that alone reads the convolution: its index, the name of its output, and its limits.
fn clip(index: &GraphIndex<'_>, node: &NodeProto) -> Option<(usize, String, [f32; 2])> {
    let (at, clip) = index.only_reader(node, "Clip")?;
    let limit = |side: usize, open: f32| match clip.input.get(side).filter(|name| !name.is_empty()) {
        None => Some(open),
        Some(name) => match floats(index.constant(name)?)?.as_slice() {
            &[value] => Some(value),
            _ => None,
        },
    };
    let limits = [limit(1, f32::NEG_INFINITY)?, limit(2, f32::INFINITY)?];
    Some((at, clip.output.first()?.clone(), limits)).filter(|_| limits[0] <= limits[1])
}
