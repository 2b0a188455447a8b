//! Which products of a graph are computed by [`super::product`], decided before tract sees it: so the constants are packed from
//! where they were read to and are never kept twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

use super::product::{INDEX, Kernels, NAME, OUTER, Weights};

/// A matrix with fewer rows or columns is left to tract, whose tiles may be smaller.
const LEAST: usize = 16;

/// Replaces products with constant matrices, and the addition of a constant bias behind them, by the operator [`NAME`]. Returns
/// the weights that it refers to. What is not understood stays as it is.
pub(super) fn rewrite(model: &mut ModelProto, kernels: &Kernels) -> Vec<Arc<Weights>> {
    let Some(graph) = &mut model.graph else { return Vec::new() };
    let plans = plans(graph);
    let mut weights = Vec::with_capacity(plans.len());
    let mut constants = Constants::take(graph);
    let mut replaced = HashMap::new();
    let mut absorbed = HashSet::new();
    for plan in &plans {
        let bias = plan.bias.as_ref().and_then(|(_, name)| constants.vector(name, plan.outer));
        let packed = constants.matrix(&plan.matrix).and_then(|matrix| {
            let kernel = kernels.for_weights(matrix.len());
            Weights::pack(&matrix, plan.outer, bias.as_deref(), kernel)
        });
        let Some(packed) = packed else { continue };
        constants.used(&plan.matrix);
        let mut node = graph.node[plan.product].clone();
        node.op_type = NAME.to_owned();
        node.input.truncate(1);
        node.attribute = vec![integer(INDEX, weights.len()), integer(OUTER, plan.outer)];
        if let Some((add, name)) = plan.bias.as_ref().filter(|_| bias.is_some()) {
            constants.used(name);
            node.output = graph.node[*add].output.clone();
            absorbed.insert(*add);
        }
        replaced.insert(plan.product, node);
        weights.push(Arc::new(packed));
    }
    for (at, node) in replaced {
        graph.node[at] = node;
    }
    let mut at = 0;
    graph.node.retain(|_| {
        at += 1;
        !absorbed.contains(&(at - 1))
    });
    graph.initializer = constants.rest();
    weights
}

/// A product that can be replaced.
struct Plan {
    /// The node.
    product: usize,
    /// The constant, `[K, N]`.
    matrix: String,
    /// `N`.
    outer: usize,
    /// The node that adds a constant to it, if nothing else reads the product, and the constant.
    bias: Option<(usize, String)>,
}

fn plans(graph: &GraphProto) -> Vec<Plan> {
    let shapes: HashMap<&str, &[i64]> =
        graph.initializer.iter().map(|c| (c.name.as_str(), c.dims.as_slice())).collect();
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, node) in graph.node.iter().enumerate() {
        for input in &node.input {
            readers.entry(input).or_default().push(at);
        }
    }
    // What the graph answers with is read from outside, whoever else reads it.
    for output in &graph.output {
        readers.entry(&output.name).or_default().push(usize::MAX);
    }
    let plan = |(product, node): (usize, &NodeProto)| {
        let [input, matrix] = node.input.as_slice() else { return None };
        let &[inner, outer] = shapes.get(matrix.as_str()).copied()? else { return None };
        let outer = usize::try_from(outer).ok().filter(|outer| *outer >= LEAST && inner >= LEAST as i64)?;
        if node.op_type != "MatMul" || shapes.contains_key(input.as_str()) {
            return None;
        }
        let bias = || {
            let output = node.output.first()?;
            let &[add] = readers.get(output.as_str())?.as_slice() else { return None };
            let node = graph.node.get(add).filter(|node| node.op_type == "Add")?;
            let other = node.input.iter().find(|input| *input != output)?;
            (shapes.get(other.as_str()) == Some(&&[outer as i64][..])).then(|| (add, other.clone()))
        };
        Some(Plan { product, matrix: matrix.clone(), outer, bias: bias() })
    };
    graph.node.iter().enumerate().filter_map(plan).collect()
}

/// The graph's constants, while some of them are packed.
struct Constants {
    by_name: HashMap<String, TensorProto>,
    order: Vec<String>,
    /// How often each is still read.
    readers: HashMap<String, usize>,
}

impl Constants {
    fn take(graph: &mut GraphProto) -> Self {
        let mut readers = HashMap::new();
        for input in graph.node.iter().flat_map(|node| &node.input) {
            *readers.entry(input.clone()).or_default() += 1;
        }
        let all = std::mem::take(&mut graph.initializer);
        let order = all.iter().map(|constant| constant.name.clone()).collect();
        Self { by_name: all.into_iter().map(|constant| (constant.name.clone(), constant)).collect(), order, readers }
    }

    fn matrix(&self, name: &str) -> Option<Vec<f32>> {
        let constant = self.by_name.get(name)?;
        let count: i64 = constant.dims.iter().product();
        if constant.data_type != DataType::Float as i32 || !constant.external_data.is_empty() {
            return None;
        }
        let values: Vec<f32> = if constant.raw_data.is_empty() {
            constant.float_data.clone()
        } else {
            constant.raw_data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        (values.len() as i64 == count).then_some(values)
    }

    fn vector(&self, name: &str, length: usize) -> Option<Vec<f32>> {
        self.matrix(name).filter(|values| values.len() == length)
    }

    /// One reader fewer; with the last one the constant goes.
    fn used(&mut self, name: &str) {
        let Some(readers) = self.readers.get_mut(name) else { return };
        *readers -= 1;
        if *readers == 0 {
            self.by_name.remove(name);
        }
    }

    fn rest(mut self) -> Vec<TensorProto> {
        self.order.iter().filter_map(|name| self.by_name.remove(name)).collect()
    }
}

fn integer(name: &str, value: usize) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value as i64,
        ..AttributeProto::default()
    }
}
