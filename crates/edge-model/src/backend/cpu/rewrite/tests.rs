//! Compares the outputs of rewritten graphs with those of the original graphs.

use ndarray::{Array3, ArrayD};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{Tensor as TensorType, Value};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
};
use tract_onnx::prelude::{Framework, InferenceModelExt};
use tract_onnx::tract_core::runtime::DefaultRuntime;
use tract_onnx::tract_core::runtime::Runtime;

use super::super::operator::{self, CONSTANT_PRODUCT, HEADS_ATTENTION, ROW_NORM};
use super::super::product::ProductKernels;
use super::graph::{float, integer};
use super::rewrite;
use crate::backend::interface::Input;
use crate::backend::precision::Precision;
use crate::backend::tract::run;

/// Number of tokens in the test graphs.
const T: usize = 21;
/// Length of a token's vector in the test graphs.
const W: usize = 48;
const HEADS: usize = 3;

/// Builds an ONNX graph. Values are named after the number of their node.
struct Builder(GraphProto);

impl Builder {
    fn new() -> Self {
        let value = |name: &str| {
            let dim = |value| Dimension { value: Some(value), ..Dimension::default() };
            let open = dim(dimension::Value::DimParam("N".to_owned()));
            let fixed = |n: usize| dim(dimension::Value::DimValue(n as i64));
            let shape = TensorShapeProto { dim: vec![open, fixed(T), fixed(W)] };
            let tensor = TensorType { elem_type: DataType::Float as i32, shape: Some(shape) };
            let r#type = TypeProto { value: Some(Value::TensorType(tensor)), ..TypeProto::default() };
            ValueInfoProto { name: name.to_owned(), r#type: Some(r#type), ..ValueInfoProto::default() }
        };
        Self(GraphProto { input: vec![value("x")], ..GraphProto::default() })
    }

    fn constant(&mut self, dims: &[usize]) -> String {
        let number = self.0.initializer.len();
        let values =
            (0..dims.iter().product::<usize>()).map(|i| ((i * 7919 + number * 31) % 1009) as f32 / 2000.0 - 0.25);
        let bytes = values.flat_map(f32::to_le_bytes).collect();
        self.initializer(dims, DataType::Float, bytes)
    }

    fn scalar(&mut self, value: f32) -> String {
        self.initializer(&[], DataType::Float, value.to_le_bytes().to_vec())
    }

    fn shape(&mut self, dims: &[i64]) -> String {
        self.initializer(&[dims.len()], DataType::Int64, dims.iter().flat_map(|dim| dim.to_le_bytes()).collect())
    }

    fn initializer(&mut self, dims: &[usize], kind: DataType, raw_data: Vec<u8>) -> String {
        let name = format!("constant-{}", self.0.initializer.len());
        let dims = dims.iter().map(|dim| *dim as i64).collect();
        let data_type = kind as i32;
        self.0.initializer.push(TensorProto {
            name: name.clone(),
            dims,
            data_type,
            raw_data,
            ..TensorProto::default()
        });
        name
    }

    fn node(&mut self, kind: &str, input: &[&str], attribute: Vec<AttributeProto>) -> String {
        let output = format!("value-{}", self.0.node.len());
        self.0.node.push(NodeProto {
            op_type: kind.to_owned(),
            name: output.clone(),
            input: input.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.clone()],
            attribute,
            ..NodeProto::default()
        });
        output
    }

    fn linear(&mut self, x: &str, inner: usize, outer: usize) -> String {
        let (matrix, bias) = (self.constant(&[inner, outer]), self.constant(&[outer]));
        let product = self.node("MatMul", &[x, &matrix], Vec::new());
        self.node("Add", &[&product, &bias], Vec::new())
    }

    fn heads(&mut self, x: &str, order: [i64; 4]) -> String {
        let shape = self.shape(&[-1, T as i64, HEADS as i64, (W / HEADS) as i64]);
        let divided = self.node("Reshape", &[x, &shape], Vec::new());
        self.node("Transpose", &[&divided], vec![integers("perm", &order)])
    }

    /// Adds self-attention of `x`; `mask` is added to the products of queries and keys.
    fn attention(&mut self, x: &str, mask: Option<&str>) -> String {
        let [q, k, v] = std::array::from_fn(|_| self.linear(x, W, W));
        let (q, k, v) = (self.heads(&q, [0, 2, 1, 3]), self.heads(&k, [0, 2, 3, 1]), self.heads(&v, [0, 2, 1, 3]));
        let factor = self.scalar(0.25);
        let scores = self.node("MatMul", &[&q, &k], Vec::new());
        let mut scores = self.node("Mul", &[&scores, &factor], Vec::new());
        if let Some(mask) = mask {
            scores = self.node("Add", &[&scores, mask], Vec::new());
        }
        let weights = self.node("Softmax", &[&scores], vec![AttributeProto { i: -1, ..integer("axis", 0) }]);
        let weighted = self.node("MatMul", &[&weights, &v], Vec::new());
        let back = self.node("Transpose", &[&weighted], vec![integers("perm", &[0, 2, 1, 3])]);
        let shape = self.shape(&[-1, T as i64, W as i64]);
        self.node("Reshape", &[&back, &shape], Vec::new())
    }

    fn norm(&mut self, x: &str) -> String {
        let (scale, shift) = (self.constant(&[W]), self.constant(&[W]));
        self.node("LayerNormalization", &[x, &scale, &shift], vec![float("epsilon", 1e-4)])
    }

    fn quick_gelu(&mut self, x: &str) -> String {
        let factor = self.scalar(1.702);
        let scaled = self.node("Mul", &[x, &factor], Vec::new());
        let sigmoid = self.node("Sigmoid", &[&scaled], Vec::new());
        self.node("Mul", &[x, &sigmoid], Vec::new())
    }

    fn finish(mut self, outputs: &[&str]) -> ModelProto {
        let output = |name: &&str| ValueInfoProto { name: (*name).to_owned(), ..ValueInfoProto::default() };
        self.0.output = outputs.iter().map(output).collect();
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
        ModelProto { ir_version: 8, opset_import, graph: Some(self.0), ..ModelProto::default() }
    }
}

fn integers(name: &str, values: &[i64]) -> AttributeProto {
    let r#type = AttributeType::Ints as i32;
    AttributeProto { name: name.to_owned(), r#type, ints: values.to_vec(), ..AttributeProto::default() }
}

fn answers(model: &ModelProto, complete: impl FnOnce(&mut tract_onnx::prelude::TypedModel)) -> Vec<ArrayD<f32>> {
    let mut framework = tract_onnx::onnx();
    operator::register(&mut framework.op_register);
    let mut model = framework.model_for_proto_model(model).unwrap().into_typed().unwrap();
    complete(&mut model);
    let runnable = DefaultRuntime.prepare(model.into_decluttered().unwrap()).unwrap();
    let x = Array3::from_shape_fn((2, T, W), |(n, t, w)| ((n * 911 + t * 37 + w * 101) % 199) as f32 / 100.0 - 1.0);
    run(&*runnable, vec![Input::F32(x.into_dyn())]).unwrap()
}

/// Rewrites a graph and compares its outputs with the original's. Returns the numbers of constant products, layer norms and
/// attentions, and the number of all nodes.
fn rewritten(model: &ModelProto) -> ([usize; 3], usize) {
    let kernels = ProductKernels::best(Precision::F32).unwrap();
    let expected = answers(model, |_| {});
    let mut model = model.clone();
    let constants = rewrite(&mut model, &kernels);
    let found = answers(&model, |model| operator::complete(model, &constants, &kernels));
    assert_eq!(expected.len(), found.len());
    for (expected, found) in expected.iter().zip(&found) {
        let largest = expected.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let off = expected.iter().zip(found).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(expected.shape() == found.shape() && off < 1e-5 * largest.max(1.0), "{off} of {largest}");
    }
    let nodes = model.graph.unwrap().node;
    let count = |kind| nodes.iter().filter(|node| node.op_type == kind).count();
    ([CONSTANT_PRODUCT, ROW_NORM, HEADS_ATTENTION].map(count), nodes.len())
}

fn has_kernels() -> bool {
    ProductKernels::or_skip(Precision::F32, "backend::cpu::rewrite").is_some()
}

#[test]
fn a_block_becomes_its_operators_and_answers_the_same() {
    if !has_kernels() {
        return;
    }
    for with_mask in [false, true] {
        let mut b = Builder::new();
        let mask = with_mask.then(|| b.constant(&[1, 1, T, T]));
        let normed = b.norm("x");
        let attended = b.attention(&normed, mask.as_deref());
        let projected = b.linear(&attended, W, W);
        let sum = b.node("Add", &["x", &projected], Vec::new());
        let normed = b.norm(&sum);
        let wide = b.linear(&normed, W, 100);
        let active = b.quick_gelu(&wide);
        let narrow = b.linear(&active, 100, W);
        let out = b.node("Add", &[&sum, &narrow], Vec::new());
        // Six products, two norms, one attention and two sums.
        assert_eq!(rewritten(&b.finish(&[&out])), ([6, 2, 1], 11), "with a mask: {with_mask}");
    }
}

#[test]
fn what_is_read_elsewhere_too_is_kept() {
    if !has_kernels() {
        return;
    }
    let mut b = Builder::new();
    let (matrix, bias) = (b.constant(&[W, W]), b.constant(&[W]));
    let product = b.node("MatMul", &["x", &matrix], Vec::new());
    let sum = b.node("Add", &[&product, &bias], Vec::new());
    let factor = b.scalar(1.5);
    let scaled = b.node("Mul", &[&sum, &factor], Vec::new());
    let sigmoid = b.node("Sigmoid", &[&scaled], Vec::new());
    let active = b.node("Mul", &[&sum, &sigmoid], Vec::new());
    // The product, the sigmoid and the matrix have other readers, so the addition and the activation function must stay.
    let again = b.node("MatMul", &[&active, &matrix], Vec::new());
    assert_eq!(rewritten(&b.finish(&[&again, &product, &sigmoid])), ([2, 0, 0], 6));
}

#[test]
fn what_only_looks_like_a_pattern_is_left() {
    if !has_kernels() {
        return;
    }
    let mut b = Builder::new();
    // A mask that depends on the input, a product of two inputs, a narrow matrix, a bias of another shape, and a norm over two axes.
    let mean = b.node("ReduceMean", &["x"], vec![integers("axes", &[1, 2])]);
    let shape = b.shape(&[-1, 1, 1, 1]);
    let mask = b.node("Reshape", &[&mean, &shape], Vec::new());
    let attended = b.attention("x", Some(&mask));
    let turned = b.node("Transpose", &["x"], vec![integers("perm", &[0, 2, 1])]);
    let gram = b.node("MatMul", &["x", &turned], Vec::new());
    let narrow = b.constant(&[W, 3]);
    let narrow = b.node("MatMul", &["x", &narrow], Vec::new());
    let (matrix, bias) = (b.constant(&[W, W]), b.constant(&[T, W]));
    let product = b.node("MatMul", &["x", &matrix], Vec::new());
    let shifted = b.node("Add", &[&product, &bias], Vec::new());
    let (scale, shift) = (b.constant(&[T, W]), b.constant(&[T, W]));
    let axis = AttributeProto { i: -2, ..integer("axis", 0) };
    let normed = b.node("LayerNormalization", &["x", &scale, &shift], vec![axis]);
    let before = b.0.node.len();
    let model = b.finish(&[&attended, &gram, &narrow, &shifted, &normed]);
    // Four products are found, three of them with their biases: those of queries, keys and values, and the last one.
    assert_eq!(rewritten(&model), ([4, 0, 0], before - 3));
}

#[test]
fn a_large_table_is_looked_up_beside_the_graph() {
    if !has_kernels() {
        return;
    }
    // The table is larger than the minimum. The row numbers come from the input: 0 to 20, and below zero.
    let mut b = Builder::new();
    let table = b.constant(&[6000, W]);
    let (scale, zero) = (b.scalar(10.0), b.shape(&[0]));
    let first = b.node("Gather", &["x", &zero], vec![integer("axis", 2)]);
    let scaled = b.node("Mul", &[&first, &scale], Vec::new());
    let numbers = b.node("Cast", &[&scaled], vec![integer("to", DataType::Int64 as usize)]);
    let rows = b.node("Gather", &[&table, &numbers], Vec::new());
    let model = b.finish(&[&rows]);
    let kernels = ProductKernels::best(Precision::F32).unwrap();
    let mut changed = model.clone();
    let constants = rewrite(&mut changed, &kernels);
    assert_eq!((constants.tables.len(), constants.weights.len()), (1, 0));
    assert!(changed.graph.as_ref().unwrap().initializer.iter().all(|constant| constant.name != table));
    let found = answers(&changed, |model| operator::complete(model, &constants, &kernels));
    assert_eq!(found, answers(&model, |_| {}));
    let table = &constants.tables[0];
    assert!(table.row(-6000) == table.row(0) && table.row(5999) == table.row(-1));
    assert!(table.row(6000).is_none() && table.row(-6001).is_none() && table.row(i64::MIN).is_none());
}

#[test]
fn depthwise_convolutions_become_operators_with_their_clips() {
    if !has_kernels() {
        return;
    }
    let mut b = Builder::new();
    let shape = b.shape(&[-1, 3, (T / 3) as i64, W as i64]);
    let input = b.node("Reshape", &["x", &shape], Vec::new());
    let conv = |b: &mut Builder, dims: &[usize], group: usize, more: Vec<AttributeProto>| {
        let (filters, bias) = (b.constant(dims), b.constant(&[dims[0]]));
        let kernel = integers("kernel_shape", &[dims[2] as i64, dims[3] as i64]);
        b.node("Conv", &[&input, &filters, &bias], [vec![kernel, integer("group", group)], more].concat())
    };
    let padded = || integers("pads", &[1, 0, 2, 1]);
    let clipped = conv(&mut b, &[3, 1, 3, 3], 3, vec![padded(), integers("strides", &[2, 2])]);
    let (low, high) = (b.scalar(0.0), b.scalar(0.125));
    let clipped = b.node("Clip", &[&clipped, &low, &high], Vec::new());
    let plain = conv(&mut b, &[3, 1, 5, 3], 3, Vec::new());
    // Two nodes read this convolution, so its clip stays.
    let shared = conv(&mut b, &[3, 1, 3, 3], 3, vec![padded()]);
    let of_shared = b.node("Clip", &[&shared, &low, &high], Vec::new());
    // Two filters per channel, dilation, and more zeros than a window has pixels do not match the pattern.
    let two = conv(&mut b, &[6, 1, 3, 3], 3, Vec::new());
    let spread = conv(&mut b, &[3, 1, 2, 2], 3, vec![integers("dilations", &[2, 2])]);
    let wide = conv(&mut b, &[3, 1, 2, 2], 3, vec![integers("pads", &[2, 2, 2, 2])]);
    let model = b.finish(&[&clipped, &plain, &shared, &of_shared, &two, &spread, &wide]);
    rewritten(&model);
    let mut changed = model.clone();
    let constants = rewrite(&mut changed, &ProductKernels::best(Precision::F32).unwrap());
    let count = |kind: &str| changed.graph.as_ref().unwrap().node.iter().filter(|node| node.op_type == kind).count();
    assert_eq!(constants.depthwise.len(), 3);
    assert_eq!(["DepthwiseConv", "Conv", "Clip"].map(count), [3, 3, 1]);
}

#[test]
fn convolutions_with_whole_windows_and_means_become_operators() {
    if !has_kernels() {
        return;
    }
    let mut b = Builder::new();
    let shape = b.shape(&[-1, 3, (T / 3) as i64, W as i64]);
    let input = b.node("Reshape", &["x", &shape], Vec::new());
    let conv = |b: &mut Builder, dims: &[usize], more: Vec<AttributeProto>| {
        let (filters, bias) = (b.constant(dims), b.constant(&[dims[0]]));
        b.node(
            "Conv",
            &[&input, &filters, &bias],
            [vec![integers("kernel_shape", &[dims[2] as i64, dims[3] as i64])], more].concat(),
        )
    };
    let many = conv(&mut b, &[20, 3, 3, 5], vec![integers("strides", &[2, 3]), integers("pads", &[0; 4])]);
    let pixels = conv(&mut b, &[2, 3, 1, 1], Vec::new());
    let clipped = conv(&mut b, &[18, 3, 1, 1], Vec::new());
    let (low, high) = (b.scalar(0.0), b.scalar(0.125));
    let clipped = b.node("Clip", &[&clipped, &low, &high], Vec::new());
    let padded = conv(&mut b, &[20, 3, 3, 3], vec![integers("pads", &[1, 0, 2, 1])]);
    // Few filters, windows of zeros alone, dilation and groups do not match the pattern.
    let few = conv(&mut b, &[2, 3, 3, 3], Vec::new());
    let far = conv(&mut b, &[20, 3, 2, 2], vec![integers("pads", &[2; 4])]);
    let spread = conv(&mut b, &[20, 3, 2, 2], vec![integers("dilations", &[2, 2])]);
    let grouped = conv(&mut b, &[24, 1, 2, 2], vec![integer("group", 3)]);
    let mean = |b: &mut Builder, of: &str, axes: &[i64], keep: usize| {
        b.node("ReduceMean", &[of], vec![integers("axes", axes), integer("keepdims", keep)])
    };
    let of_rows = mean(&mut b, &many, &[3], 0);
    let of_columns = mean(&mut b, &many, &[2], 0);
    let of_both = mean(&mut b, &many, &[2, 3], 0);
    let kept = mean(&mut b, &many, &[3], 1);
    // A mean over rows and one over columns are one operator. That over rows stays if something else reads it.
    let inner = mean(&mut b, &many, &[3], 0);
    let in_turn = mean(&mut b, &inner, &[2], 0);
    let of_shared = mean(&mut b, &of_rows, &[2], 0);
    let outputs: [&str; 11] =
        [&pixels, &clipped, &padded, &few, &far, &spread, &grouped, &of_rows, &of_columns, &of_both, &kept];
    let model = b.finish(&[&outputs[..], &[&in_turn, &of_shared]].concat());
    rewritten(&model);
    let mut changed = model.clone();
    let constants = rewrite(&mut changed, &ProductKernels::best(Precision::F32).unwrap());
    let count = |kind: &str| changed.graph.as_ref().unwrap().node.iter().filter(|node| node.op_type == kind).count();
    assert_eq!(constants.filters.len(), 4);
    assert_eq!(["WindowProduct", "Clip", "Conv", "AxisMean", "ReduceMean"].map(count), [4, 0, 4, 4, 2]);
}
