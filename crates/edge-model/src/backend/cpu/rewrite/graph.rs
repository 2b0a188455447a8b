//! Finding one's way in an ONNX graph.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// Who writes and reads what.
pub(super) struct Index<'a> {
    graph: &'a GraphProto,
    writers: HashMap<&'a str, usize>,
    readers: HashMap<&'a str, Vec<usize>>,
    constants: HashMap<&'a str, &'a TensorProto>,
}

impl<'a> Index<'a> {
    pub(super) fn of(graph: &'a GraphProto) -> Self {
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut writers = HashMap::new();
        for (at, node) in graph.node.iter().enumerate() {
            node.input.iter().for_each(|input| readers.entry(input).or_default().push(at));
            writers.extend(node.output.iter().map(|output| (output.as_str(), at)));
        }
        // What the graph answers with is read from outside, whoever else reads it.
        graph.output.iter().for_each(|output| readers.entry(&output.name).or_default().push(usize::MAX));
        let constants = graph.initializer.iter().map(|constant| (constant.name.as_str(), constant)).collect();
        Self { graph, writers, readers, constants }
    }

    /// The nodes of that type, with their places.
    pub(super) fn nodes(&self, kind: &str) -> impl Iterator<Item = (usize, &'a NodeProto)> {
        self.graph.node.iter().enumerate().filter(move |(_, node)| node.op_type == kind)
    }

    /// The node at that place, if it is of that type.
    pub(super) fn node(&self, at: usize, kind: &str) -> Option<&'a NodeProto> {
        self.graph.node.get(at).filter(|node| node.op_type == kind)
    }

    /// The node of that type which writes a value.
    pub(super) fn writer(&self, value: &str, kind: &str) -> Option<&'a NodeProto> {
        self.node(*self.writers.get(value)?, kind)
    }

    /// The only reader of a node's only answer, if it is of that type.
    pub(super) fn only_reader(&self, node: &NodeProto, kind: &str) -> Option<(usize, &'a NodeProto)> {
        let [output] = node.output.as_slice() else { return None };
        let &[at] = self.readers.get(output.as_str())?.as_slice() else { return None };
        self.node(at, kind).map(|node| (at, node))
    }

    /// The places of the nodes that read a value; one that is no node's stands for the graph's answer.
    pub(super) fn readers(&self, value: &str) -> &[usize] {
        self.readers.get(value).map_or(&[], Vec::as_slice)
    }

    /// A constant, be it kept in 16 bits and widened by a node.
    pub(super) fn constant(&self, value: &str) -> Option<&'a TensorProto> {
        self.constants.get(value).copied().or_else(|| {
            let cast = self.writer(value, "Cast")?;
            let is_f32 = attribute(cast, "to").is_some_and(|to| to.i == i64::from(DataType::Float as i32));
            self.constants.get(cast.input.first()?.as_str()).copied().filter(|_| is_f32)
        })
    }

    /// The other input of a node with two.
    pub(super) fn other<'n>(&self, node: &'n NodeProto, input: &str) -> Option<&'n str> {
        match node.input.as_slice() {
            [a, b] if a == input => Some(b),
            [a, b] if b == input => Some(a),
            _ => None,
        }
    }

    /// A constant of one value that a node has beside `input`.
    pub(super) fn other_scalar(&self, node: &NodeProto, input: &str) -> Option<f32> {
        let values = floats(self.constant(self.other(node, input)?)?)?;
        let &[value] = values.as_slice() else { return None };
        Some(value)
    }
}

/// The constant's values, if they are floats of 32 or 16 bits within the file, and as many as its shape says.
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

/// The constant's values, if they are whole numbers of 64 bits within the file.
pub(super) fn integers(constant: &TensorProto) -> Option<Vec<i64>> {
    if constant.data_type != DataType::Int64 as i32 || !constant.external_data.is_empty() {
        return None;
    }
    if constant.raw_data.is_empty() {
        return Some(constant.int64_data.clone());
    }
    Some(constant.raw_data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
}

pub(super) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// An attribute that is a whole number.
pub(super) fn integer(name: &str, value: usize) -> AttributeProto {
    let i = i64::try_from(value).unwrap_or(i64::MAX);
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i, ..AttributeProto::default() }
}

/// An attribute that is some whole numbers.
pub(super) fn integers_attribute(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|value| i64::try_from(*value).unwrap_or(i64::MAX)).collect();
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

/// An attribute that is a float.
pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Float as i32, f, ..AttributeProto::default() }
}

/// Removes nodes whose answers nobody reads, and constants.
pub(super) fn remove_unread(graph: &mut GraphProto) {
    let mut read: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    let mut kept = Vec::with_capacity(graph.node.len());
    // From the end: in ONNX a node stands behind those whose answers it reads.
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
