//! Replaces the pattern of a convolution without channel groups and without padding that has many filters or windows of one pixel, and
//! of a `Clip` behind it.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::convolution::{ConvFilters, ConvWindows, MIN_PRODUCT_FILTERS};
use super::super::operator::{INDEX, WINDOW_PRODUCT, WINDOWS};
use super::super::rows::UNLIMITED;
use super::clip::Clip;
use super::graph::{GraphIndex, attribute, floats, integer, integers_attribute};

/// Replaces each pattern in the graph by [`WINDOW_PRODUCT`]. Returns the filters, in the order of their indices.
pub(super) fn rewrite(graph: &mut GraphProto) -> Vec<ConvFilters> {
    let index = GraphIndex::of(graph);
    let found: Vec<_> = index.nodes("Conv").filter_map(|(at, node)| Some((at, filters(&index, node)?))).collect();
    let mut all = Vec::with_capacity(found.len());
    for (at, (filters, clip)) in found {
        if let Some(clip) = clip {
            clip.move_into(graph, at);
        }
        let ConvWindows { channels, size, stride } = filters.windows();
        let node = &mut graph.node[at];
        node.op_type = WINDOW_PRODUCT.to_owned();
        node.input.truncate(1);
        let shape = [filters.count(), channels, size[0], size[1], stride[0], stride[1]];
        node.attribute = vec![integer(INDEX, all.len()), integers_attribute(WINDOWS, &shape)];
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
    let ints = |name| attribute(node, name).map(|attribute| attribute.ints.as_slice());
    let is_plain = ints("pads").is_none_or(|pads| pads.iter().all(|pad| *pad == 0))
        && ints("dilations").is_none_or(|dilations| dilations.iter().all(|dilation| *dilation == 1))
        && attribute(node, "group").is_none_or(|group| group.i == 1)
        && attribute(node, "auto_pad").is_none_or(|auto| matches!(auto.s.as_slice(), b"" | b"NOTSET" | b"VALID"));
    let stride = match ints("strides") {
        None => [1, 1],
        Some(&[down, across]) => [usize::try_from(down).ok()?, usize::try_from(across).ok()?],
        Some(_) => return None,
    };
    let windows = ConvWindows { channels, size: [height, width], stride };
    if (count < MIN_PRODUCT_FILTERS && !windows.is_pixels()) || !is_plain {
        return None;
    }
    let weights = floats(constant)?;
    let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => floats(index.constant(name)?).filter(|bias| bias.len() == count)?,
        None => vec![0.0; count],
    };
    let rows = weights.chunks_exact(channels * height * width).zip(&bias);
    let values: Vec<f32> = rows.flat_map(|(row, bias)| row.iter().chain([bias]).copied()).collect();
    let clip = Clip::behind(index, node);
    let limits = clip.as_ref().map_or(UNLIMITED, |clip| clip.limits);
    Some((ConvFilters::new(values.into(), windows, limits)?, clip))
}
