//! Replaces the pattern of a convolution in which each channel has one filter, and of a `Clip` behind it.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::depthwise::DepthwiseFilters;
use super::super::operator::DEPTHWISE_CONV;
use super::super::rows::UNLIMITED;
use super::clip::Clip;
use super::graph::{GraphIndex, attribute};
use super::windows::{filter_values, replace, windows};

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
        replace(graph, (at, clip), DEPTHWISE_CONV, all.len(), filters.windows());
        all.push(filters);
    }
    all
}

fn pattern(index: &GraphIndex<'_>, node: &NodeProto) -> Option<Pattern> {
    let constant = index.constant(node.input.get(1)?)?;
    let &[channels, 1, height, width] = constant.dims.as_slice() else { return None };
    if channels < 2 || attribute(node, "group").is_none_or(|group| group.i != channels) {
        return None;
    }
    let count = |value| usize::try_from(value).ok();
    let windows = windows(node, count(channels)?, [count(height)?, count(width)?])?;
    let values = filter_values(index, node, constant, windows.channels)?;
    let clip = Clip::behind(index, node);
    let limits = clip.as_ref().map_or(UNLIMITED, |clip| clip.limits);
    Some(Pattern { filters: DepthwiseFilters::new(values.into(), windows, limits)?, clip })
}
