//! Queries and edits of an ONNX graph that all patterns share.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// Finds the nodes that write and read the values of a graph.
pub(super) struct GraphIndex<'a> {
    graph: &'a GraphProto,
    /// For the name of a value, the index of the node that writes it.
    writers: HashMap<&'a str, usize>,
    /// For the name of a value, the indices of the nodes that read it; [`GRAPH_OUTPUT`] stands for an output of the
    /// graph.
    readers: HashMap<&'a str, Vec<usize>>,
    constants: HashMap<&'a str, &'a TensorProto>,
}

/// Stands for the index of a reader if the value is an output of the graph.
const GRAPH_OUTPUT: usize = usize::MAX;

impl<'a> GraphIndex<'a> {
    pub(super) fn of(graph: &'a GraphProto) -> Self {
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut writers = HashMap::new();
        for (at, node) in graph.node.iter().enumerate() {
            node.input.iter().for_each(|input| readers.entry(input).or_default().push(at));
            writers.extend(node.output.iter().map(|output| (output.as_str(), at)));
        }
        graph.output.iter().for_each(|output| readers.entry(&output.name).or_default().push(GRAPH_OUTPUT));
        let constants = graph.initializer.iter().map(|constant| (constant.name.as_str(), constant)).collect();
        Self { graph, writers, readers, constants }
    }

    /// Returns the nodes of a type, with their indices.
    pub(super) fn nodes(&self, kind: &str) -> impl Iterator<Item = (usize, &'a NodeProto)> {
        self.graph.node.iter().enumerate().filter(move |(_, node)| node.op_type == kind)
    }

    /// Returns the node at an index if it has the type.
    pub(super) fn node(&self, at: usize, kind: &str) -> Option<&'a NodeProto> {
        self.graph.node.get(at).filter(|node| node.op_type == kind)
    }

    /// Returns the node that writes a value if it has the type.
    pub(super) fn writer(&self, value: &str, kind: &str) -> Option<&'a NodeProto> {
        self.node(*self.writers.get(value)?, kind)
    }

    /// Returns the node that reads the output of `node` if it is the only reader and has the type. `node` must have one output.
    pub(super) fn only_reader(&self, node: &NodeProto, kind: &str) -> Option<(usize, &'a NodeProto)> {
        let [output] = node.output.as_slice() else { return None };
        let &[at] = self.readers.get(output.as_str())?.as_slice() else { return None };
        self.node(at, kind).map(|node| (at, node))
    }

    /// Returns the indices of the nodes that read a value; one of them is [`GRAPH_OUTPUT`] if the value is an output of the graph.
    pub(super) fn readers(&self, value: &str) -> &[usize] {
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }

    /// Returns the constant named `value`. If a node casts a constant to f32 and writes `value`, returns the constant before the
    /// cast.
    pub(super) fn constant(&self, value: &str) -> Option<&'a TensorProto> {
        self.constants.get(value).copied().or_else(|| {
            let cast = self.writer(value, "Cast")?;
            let is_f32 = attribute(cast, "to").is_some_and(|to| to.i == i64::from(DataType::Float as i32));
            self.constants.get(cast.input.first()?.as_str()).copied().filter(|_| is_f32)
        })
    }

    /// Returns the input other than `input` of a node with two inputs.
    pub(super) fn other<'n>(&self, node: &'n NodeProto, input: &str) -> Option<&'n str> {
        match node.input.as_slice() {
            [a, b] if a == input => Some(b),
            [a, b] if b == input => Some(a),
            _ => None,
        }
    }

    /// Returns the value of the input other than `input` of a node with two inputs, if that is a constant of one value.
    pub(super) fn other_scalar(&self, node: &NodeProto, input: &str) -> Option<f32> {
        let values = floats(self.constant(self.other(node, input)?)?)?;
        let &[value] = values.as_slice() else { return None };
        Some(value)
    }
}

/// Returns the constant's values if they are 32-bit or 16-bit floats, are stored in the graph's file, and match the constant's shape.
pub(super) fn floats(constant: &TensorProto) -> Option<Vec<f32>> {
    let count: i64 = constant.dims.iter().product();
    if !constant.external_data.is_empty() {
        return None;
    }
    let values: Vec<f32> = match DataType::try_from(constant.data_type).ok()? {
        DataType::Float if constant.raw_data.is_empty() => constant.float_data.clone(),
        DataType::Float => constant.raw_data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        DataType::Float16 => {
            constant.raw_data.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect()
        }
        _ => return None,
    };
    (i64::try_from(values.len()) == Ok(count)).then_some(values)
}

/// Returns the constant's values if they are 64-bit integers and are stored in the graph's file.
pub(super) fn integers(constant: &TensorProto) -> Option<Vec<i64>> {
    if constant.data_type != DataType::Int64 as i32 || !constant.external_data.is_empty() {
        return None;
    }
    if constant.raw_data.is_empty() {
        return Some(constant.int64_data.clone());
    }
    Some(constant.raw_data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
}

/// Returns an attribute of a node.
pub(super) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// Makes an integer attribute.
pub(super) fn integer(name: &str, value: usize) -> AttributeProto {
    let i = i64::try_from(value).unwrap_or(i64::MAX);
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i, ..AttributeProto::default() }
}

/// Makes an attribute with several integers.
pub(super) fn integers_attribute(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|value| i64::try_from(*value).unwrap_or(i64::MAX)).collect();
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

/// Makes a float attribute.
pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Float as i32, f, ..AttributeProto::default() }
}

/// Removes nodes and constants that nothing reads.
pub(super) fn remove_unread(graph: &mut GraphProto) {
    let mut read: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    let mut kept = Vec::with_capacity(graph.node.len());
    // From the end, because a node in ONNX comes after the nodes whose outputs it reads.
    for node in graph.node.drain(..).rev() {
        if node.output.iter().any(|output| read.contains(output)) {
            read.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.initializer.retain(|constant| read.contains(&constant.name));
}
