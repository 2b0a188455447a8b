//! Products with constant matrices, with what follows them: a constant bias, `x * sigmoid(factor * x)`.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::operator::{CONSTANT_PRODUCT, INDEX, OUTER};
use super::super::product::{Kernels, Weights};
use super::graph::{Index, floats, integer};

/// A matrix with fewer rows or columns is left to tract, whose tiles may be smaller.
const LEAST: i64 = 16;

/// Returns the weights, by the places that the graph refers to them by.
pub(super) fn rewrite(graph: &mut GraphProto, kernels: &Kernels) -> Vec<Weights> {
    let index = Index::of(graph);
    let plans: Vec<_> = index.nodes("MatMul").filter_map(|(at, node)| plan(&index, at, node)).collect();
    let mut weights = Vec::with_capacity(plans.len());
    for plan in plans {
        let Some(packed) = pack(graph, &plan, kernels) else { continue };
        let mut node = graph.node[plan.last].clone();
        node.op_type = CONSTANT_PRODUCT.to_owned();
        node.input = vec![plan.input];
        node.attribute = vec![integer(INDEX, weights.len()), integer(OUTER, plan.outer)];
        graph.node[plan.last] = node;
        weights.push(packed);
    }
    weights
}

/// A product that can be replaced, with its successors.
struct Plan {
    input: String,
    /// Name of the constant `[K, N]`.
    matrix: String,
    /// Whether nothing else reads it.
    is_alone: bool,
    /// `N`.
    outer: usize,
    bias: Option<Vec<f32>>,
    quick_gelu: Option<f32>,
    /// The place of the last node that is replaced.
    last: usize,
}

fn plan(index: &Index<'_>, at: usize, node: &NodeProto) -> Option<Plan> {
    let [input, matrix] = node.input.as_slice() else { return None };
    let constant = index.constant(matrix)?;
    let &[inner, columns] = constant.dims.as_slice() else { return None };
    let outer = usize::try_from(columns).ok().filter(|_| columns >= LEAST && inner >= LEAST)?;
    if index.constant(input).is_some() {
        return None;
    }
    let is_alone = index.readers(matrix).len() == 1 && index.readers(&constant.name).len() == 1;
    let mut plan = Plan {
        input: input.clone(),
        matrix: constant.name.clone(),
        is_alone,
        outer,
        bias: None,
        quick_gelu: None,
        last: at,
    };
    let mut node = node;
    if let Some((at, add)) = index.only_reader(node, "Add") {
        let other = index.constant(index.other(add, &node.output[0])?);
        plan.bias = other.filter(|other| other.dims == [columns]).and_then(floats);
        if plan.bias.is_some() {
            (plan.last, node) = (at, add);
        }
    }
    if let Some((at, factor)) = quick_gelu(index, node) {
        (plan.last, plan.quick_gelu) = (at, Some(factor));
    }
    Some(plan)
}

/// Whether `x` is read by `x * sigmoid(factor * x)` alone: the place of its last node, and the factor.
fn quick_gelu(index: &Index<'_>, x: &NodeProto) -> Option<(usize, f32)> {
    let name = x.output.first()?;
    let &[_, _] = index.readers(name) else { return None };
    let is_product = |at: usize| {
        let product = index.node(at, "Mul")?;
        let other = index.other(product, name)?;
        let sigmoid = index.writer(other, "Sigmoid")?;
        let scaled = index.writer(sigmoid.input.first()?, "Mul")?;
        index.only_reader(scaled, "Sigmoid")?;
        index.only_reader(sigmoid, "Mul")?;
        Some((at, index.other_scalar(scaled, name)?))
    };
    index.readers(name).iter().find_map(|at| is_product(*at))
}

fn pack(graph: &mut GraphProto, plan: &Plan, kernels: &Kernels) -> Option<Weights> {
    let constant = graph.initializer.iter_mut().find(|constant| constant.name == plan.matrix)?;
    let matrix = floats(constant)?;
    let kernel = kernels.for_weights(matrix.len());
    let packed = Weights::pack(&matrix, plan.outer, plan.bias.as_deref(), kernel)?.with_quick_gelu(plan.quick_gelu);
    if plan.is_alone {
        // The bytes are not needed any more, and they may be half a gigabyte in all.
        (constant.raw_data, constant.float_data) = (Vec::new(), Vec::new());
    }
    Some(packed)
}
