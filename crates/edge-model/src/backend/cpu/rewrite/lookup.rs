//! Replaces the pattern of looking up rows of a large constant table by their numbers.

use tract_onnx::pb::GraphProto;

use super::super::constants::LookupTable;
use super::super::operator::{INDEX, OUTER, TABLE_LOOKUP};
use super::graph::{GraphIndex, attribute, floats, integer};

/// Fewest values of a table that is taken out of the graph.
const MIN_TABLE_VALUES: i64 = 1 << 18;

/// Replaces each pattern in the graph by [`TABLE_LOOKUP`]. Returns the tables, in the order of their indices.
pub(super) fn rewrite(graph: &mut GraphProto) -> Vec<LookupTable> {
    let index = GraphIndex::of(graph);
    let found: Vec<(usize, String, String, usize)> = index
        .nodes("Gather")
        .filter(|(_, node)| attribute(node, "axis").is_none_or(|axis| axis.i == 0))
        .filter_map(|(at, node)| {
            let [table, numbers] = node.input.as_slice() else { return None };
            let constant = index.constant(table)?;
            let &[rows, width] = constant.dims.as_slice() else { return None };
            let only_reader = index.readers(table).len() == 1 && index.readers(&constant.name).len() == 1;
            let is_taken =
                only_reader && rows.checked_mul(width)? >= MIN_TABLE_VALUES && index.constant(numbers).is_none();
            is_taken.then_some((at, constant.name.clone(), numbers.clone(), usize::try_from(width).ok()?))
        })
        .collect();
    let mut tables = Vec::with_capacity(found.len());
    for (at, name, numbers, width) in found {
        let Some(constant) = graph.initializer.iter_mut().find(|constant| constant.name == name) else { continue };
        let Some(values) = floats(constant) else { continue };
        (constant.raw_data, constant.float_data) = (Vec::new(), Vec::new());
        let node = &mut graph.node[at];
        node.op_type = TABLE_LOOKUP.to_owned();
        node.input = vec![numbers];
        node.attribute = vec![integer(INDEX, tables.len()), integer(OUTER, width)];
        tables.push(LookupTable { width, values: values.into() });
    }
    tables
}
