//! Replaces the pattern of a convolution without channel groups that has many filters or windows of one pixel, and of a `Clip` behind it.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::convolution::{ConvFilters, MIN_PRODUCT_FILTERS};
use super::super::operator::{OUTER, WINDOW_PRODUCT};
use super::super::rows::UNLIMITED;
use super::clip::Clip;
use super::graph::{GraphIndex, attribute, integer};
use super::windows::{filter_values, replace, windows};

/// Replaces each pattern in the graph by [`WINDOW_PRODUCT`]. Returns the filters, in the order of their indices.
pub(super) fn rewrite(graph: &mut GraphProto) -> Vec<ConvFilters> {
    let index = GraphIndex::of(graph);
    let found: Vec<_> = index.nodes("Conv").filter_map(|(at, node)| Some((at, filters(&index, node)?))).collect();
    let mut all = Vec::with_capacity(found.len());
    for (at, (filters, clip)) in found {
        replace(graph, (at, clip), WINDOW_PRODUCT, all.len(), filters.windows());
        graph.node[at].attribute.push(integer(OUTER, filters.count()));
        all.push(filters);
    }
    all
}

/// Returns the filters of a convolution if it matches the pattern, and the `Clip` that they include.
fn filters(index: &GraphIndex<'_>, node: &NodeProto) -> Option<(ConvFilters, Option<Clip>)> {
    let constant = index.constant(node.input.get(1)?)?;
    let count = |value: &i64| usize::try_from(*value).ok().filter(|value| *value > 0);
    let &[count, channels, height, width] = constant.dims.iter().map(count).collect::<Option<Vec<_>>>()?.as_slice()
    else {
        return None;
    };
    let windows = windows(node, channels, [height, width])?;
    let is_grouped = attribute(node, "group").is_some_and(|group| group.i != 1);
    if is_grouped || (count < MIN_PRODUCT_FILTERS && !windows.is_pixels()) {
        return None;
    }
    let values = filter_values(index, node, constant, count)?;
    let clip = Clip::behind(index, node);
    let limits = clip.as_ref().map_or(UNLIMITED, |clip| clip.limits);
    Some((ConvFilters::new(values.into(), windows, limits)?, clip))
}
