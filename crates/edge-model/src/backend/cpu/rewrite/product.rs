//! Replaces the pattern of a product with a constant matrix, and optionally a constant bias and the activation function `x *
//! sigmoid(factor * x)`.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::super::operator::{CONSTANT_PRODUCT, INDEX, OUTER};
use super::super::product::{PackedWeights, ProductKernels};
use super::graph::{GraphIndex, floats, integer};

/// Fewest rows and fewest columns of a matrix that is packed. Smaller products are left to tract, which has smaller tiles.
const MIN_MATRIX_SIDE: i64 = 16;

/// Replaces each pattern in the graph by [`CONSTANT_PRODUCT`]. Returns the weights, in the order of their indices.
pub(super) fn rewrite(graph: &mut GraphProto, kernels: &ProductKernels) -> Vec<PackedWeights> {
    let index = GraphIndex::of(graph);
    let patterns: Vec<_> = index.nodes("MatMul").filter_map(|(at, node)| pattern(&index, at, node)).collect();
    let mut weights = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        let Some(packed) = pack(graph, &pattern, kernels) else { continue };
        let mut node = graph.node[pattern.last].clone();
        node.op_type = CONSTANT_PRODUCT.to_owned();
        node.input = vec![pattern.input];
        node.attribute = vec![integer(INDEX, weights.len()), integer(OUTER, pattern.outer)];
        graph.node[pattern.last] = node;
        weights.push(packed);
    }
    weights
}

/// A pattern that was found.
struct ProductPattern {
    /// Name of the value that is multiplied by the matrix.
    input: String,
    /// Name of the constant `[K, N]`.
    matrix: String,
    /// Whether no other node reads the matrix.
    only_reader: bool,
    /// `N`, the number of columns of the matrix.
    outer: usize,
    bias: Option<Vec<f32>>,
    quick_gelu: Option<f32>,
    /// Index of the last node of the pattern.
    last: usize,
}

/// Returns the pattern that starts at a node, if there is one.
fn pattern(index: &GraphIndex<'_>, at: usize, node: &NodeProto) -> Option<ProductPattern> {
    let [input, matrix] = node.input.as_slice() else { return None };
    let constant = index.constant(matrix)?;
    let &[inner, columns] = constant.dims.as_slice() else { return None };
    let outer = usize::try_from(columns).ok().filter(|_| columns >= MIN_MATRIX_SIDE && inner >= MIN_MATRIX_SIDE)?;
    if index.constant(input).is_some() {
        return None;
    }
    let only_reader = index.readers(matrix).len() == 1 && index.readers(&constant.name).len() == 1;
    let mut pattern = ProductPattern {
        input: input.clone(),
        matrix: constant.name.clone(),
        only_reader,
        outer,
        bias: None,
        quick_gelu: None,
        last: at,
    };
    let mut node = node;
    if let Some((at, add)) = index.only_reader(node, "Add") {
        let other = index.constant(index.other(add, &node.output[0])?);
        pattern.bias = other.filter(|other| other.dims == [columns]).and_then(floats);
        if pattern.bias.is_some() {
            (pattern.last, node) = (at, add);
        }
    }
    if let Some((at, factor)) = quick_gelu(index, node) {
        (pattern.last, pattern.quick_gelu) = (at, Some(factor));
    }
    Some(pattern)
}

/// Returns the index of the last node of `x * sigmoid(factor * x)`, and the factor, if no other node reads the output of `x`.
fn quick_gelu(index: &GraphIndex<'_>, x: &NodeProto) -> Option<(usize, f32)> {
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

/// Packs the matrix of a pattern.
fn pack(graph: &mut GraphProto, pattern: &ProductPattern, kernels: &ProductKernels) -> Option<PackedWeights> {
    let constant = graph.initializer.iter_mut().find(|constant| constant.name == pattern.matrix)?;
    let matrix = floats(constant)?;
    let kernel = kernels.for_weights(matrix.len() / pattern.outer.max(1), pattern.outer);
    let packed = PackedWeights::pack(&matrix, pattern.outer, pattern.bias.as_deref(), kernel)?
        .with_quick_gelu(pattern.quick_gelu);
    if pattern.only_reader {
        // Frees the bytes at once: those of all matrices may be half a gigabyte.
        (constant.raw_data, constant.float_data) = (Vec::new(), Vec::new());
    }
    Some(packed)
}
