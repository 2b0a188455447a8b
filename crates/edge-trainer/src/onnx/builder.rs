//! Inputs, constants, nodes and outputs of one graph, and the finished file.

use std::collections::HashMap;

use half::f16;
use prost::Message;
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};

/// The operator set of every graph. 17 is the first with `LayerNormalization` and the last in which `ReduceMean` takes its axes as an
/// attribute.
const OPSET: i64 = 17;
/// The version of the ONNX file format that belongs to operator set 17.
const IR_VERSION: i64 = 8;
/// The name of the batch dimension.
const BATCH: &str = "N";

/// The name of a tensor in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(String);

/// One dimension of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// The symbolic batch dimension `N`.
    Batch,
    /// A fixed length.
    Fixed(usize),
}

/// A graph that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The number of values of a constant does not fit its shape.
    #[error("internal error: the constant {name} has {values} values and the shape {dims:?}; please report it")]
    Shape {
        /// Name of the constant.
        name: String,
        /// Number of values of the constant.
        values: usize,
        /// Dimensions of the constant.
        dims: Vec<usize>,
    },
    /// A weight is NaN or infinite.
    #[error("the weight {name} is not finite: the training diverged. Train again with a lower --lr")]
    NotFinite {
        /// Name of the weight's constant in the graph.
        name: String,
    },
}

/// Builds one graph, node by node. [`GraphBuilder::finish`] returns the first error of a constant.
#[derive(Debug)]
pub struct GraphBuilder {
    graph: pb::GraphProto,
    values: usize,
    /// Names of the constants so far: equal constants are written once.
    constants: HashMap<Constant, String>,
    /// For the name of each constant kept in 16 bits: the name of the same constant in 32 bits.
    widened: HashMap<String, String>,
    error: Option<OnnxError>,
}

/// Smallest number of values of a constant that is kept in 16 bits. For smaller constants the additional `Cast` node is not worthwhile.
const WORTH_HALVING: usize = 1024;

/// A constant: the number of its type in ONNX, its dimensions and its bytes.
type Constant = (i32, Vec<usize>, Vec<u8>);

impl GraphBuilder {
    /// Starts an empty graph with this name.
    pub fn new(name: &str) -> Self {
        let graph = pb::GraphProto { name: name.to_owned(), ..Default::default() };
        Self { graph, values: 0, constants: HashMap::new(), widened: HashMap::new(), error: None }
    }

    /// Declares an input of 32-bit floats.
    pub fn input_f32(&mut self, name: &str, dims: &[Dim]) -> Value {
        self.graph.input.push(value_info(name, DataType::Float, dims));
        Value(name.to_owned())
    }

    /// Declares an input of 64-bit integers.
    pub fn input_i64(&mut self, name: &str, dims: &[Dim]) -> Value {
        self.graph.input.push(value_info(name, DataType::Int64, dims));
        Value(name.to_owned())
    }

    /// Declares `value` an output of 32-bit floats under `name`.
    pub fn output_f32(&mut self, name: &str, value: &Value, dims: &[Dim]) {
        self.output(name, value, Some(dims));
    }

    /// Declares `value` an output of 32-bit floats under `name`, without its shape. For graphs that stay within the program.
    pub fn output_of_any_shape(&mut self, name: &str, value: &Value) {
        self.output(name, value, None);
    }

    fn output(&mut self, name: &str, value: &Value, dims: Option<&[Dim]>) {
        self.graph.node.push(pb::NodeProto {
            name: name.to_owned(),
            op_type: "Identity".to_owned(),
            input: vec![value.0.clone()],
            output: vec![name.to_owned()],
            ..Default::default()
        });
        let mut output = value_info(name, DataType::Float, dims.unwrap_or_default());
        if let (None, Some(pb::type_proto::Value::TensorType(tensor))) =
            (dims, output.r#type.as_mut().and_then(|kind| kind.value.as_mut()))
        {
            tensor.shape = None;
        }
        self.graph.output.push(output);
    }

    /// A constant of 32-bit floats in row-major order. Many values that 16-bit floats hold exactly are kept in 16 bits, which
    /// halves the file; engines convert it to 32 bits when they load it.
    pub fn constant(&mut self, values: &[f32], dims: &[usize]) -> Value {
        if dims.len() >= 2 && values.len() >= WORTH_HALVING {
            let halves: Vec<f16> = values.iter().map(|v| f16::from_f32(*v)).collect();
            if values.iter().zip(&halves).all(|(value, half)| half.is_finite() && half.to_f32() == *value) {
                let raw = halves.iter().flat_map(|v| v.to_le_bytes()).collect();
                let half = self.initializer(DataType::Float16, raw, values.len(), dims);
                return self.widened(half);
            }
        }
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let value = self.initializer(DataType::Float, raw, values.len(), dims);
        if values.iter().any(|v| !v.is_finite()) {
            self.error.get_or_insert(OnnxError::NotFinite { name: value.0.clone() });
        }
        value
    }

    /// The constant in 32 bits; one node serves all uses.
    fn widened(&mut self, half: Value) -> Value {
        if let Some(known) = self.widened.get(&half.0) {
            return Value(known.clone());
        }
        let wide = self.to_f32(&half);
        self.widened.insert(half.0, wide.0.clone());
        wide
    }

    /// A constant of 8-bit integers in row-major order.
    pub fn bytes(&mut self, values: &[i8], dims: &[usize]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(DataType::Int8, raw, values.len(), dims)
    }

    /// A constant of 64-bit integers, one-dimensional.
    pub fn integers(&mut self, values: &[i64]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(DataType::Int64, raw, values.len(), &[values.len()])
    }

    /// A float without dimensions.
    pub fn scalar(&mut self, value: f32) -> Value {
        self.constant(&[value], &[])
    }

    /// An integer without dimensions.
    pub fn integer(&mut self, value: i64) -> Value {
        self.initializer(DataType::Int64, value.to_le_bytes().to_vec(), 1, &[])
    }

    /// The bytes of the `.onnx` file.
    ///
    /// # Errors
    /// [`OnnxError`] for the first constant with a wrong shape or a value that is not finite.
    pub fn finish(self) -> Result<Vec<u8>, OnnxError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let model = pb::ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: OPSET }],
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            ..Default::default()
        };
        Ok(model.encode_to_vec())
    }

    /// Adds a node with one output. `op` is the operator's name in the operator set.
    pub fn node(&mut self, op: &str, inputs: &[&Value], attribute: Vec<pb::AttributeProto>) -> Value {
        let output = self.fresh(op);
        self.graph.node.push(pb::NodeProto {
            name: output.clone(),
            op_type: op.to_owned(),
            input: inputs.iter().map(|v| v.0.clone()).collect(),
            output: vec![output.clone()],
            attribute,
            ..Default::default()
        });
        Value(output)
    }

    /// `Cast` to 32-bit floats.
    pub fn to_f32(&mut self, x: &Value) -> Value {
        self.node("Cast", &[x], vec![int("to", DataType::Float as i64)])
    }

    fn initializer(&mut self, kind: DataType, raw_data: Vec<u8>, values: usize, dims: &[usize]) -> Value {
        let constant = (kind as i32, dims.to_vec(), raw_data);
        if let Some(name) = self.constants.get(&constant) {
            return Value(name.clone());
        }
        let name = self.fresh("constant");
        if dims.iter().product::<usize>() != values {
            self.error.get_or_insert(OnnxError::Shape { name: name.clone(), values, dims: dims.to_vec() });
        }
        self.graph.initializer.push(pb::TensorProto {
            name: name.clone(),
            dims: dims.iter().map(|&d| d as i64).collect(),
            data_type: kind as i32,
            raw_data: constant.2.clone(),
            ..Default::default()
        });
        self.constants.insert(constant, name.clone());
        Value(name)
    }

    /// A new name that begins with `kind`.
    fn fresh(&mut self, kind: &str) -> String {
        self.values += 1;
        format!("{}_{}", kind.to_ascii_lowercase(), self.values)
    }
}

/// An integer attribute.
pub fn int(name: &str, value: i64) -> pb::AttributeProto {
    pb::AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i: value, ..Default::default() }
}

/// A float attribute.
pub fn float(name: &str, value: f32) -> pb::AttributeProto {
    pb::AttributeProto { name: name.to_owned(), r#type: AttributeType::Float as i32, f: value, ..Default::default() }
}

/// An attribute that is a list of integers.
pub fn ints(name: &str, values: &[i64]) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..Default::default()
    }
}

fn value_info(name: &str, kind: DataType, dims: &[Dim]) -> pb::ValueInfoProto {
    let dim = dims
        .iter()
        .map(|d| Dimension {
            value: Some(match d {
                Dim::Batch => dimension::Value::DimParam(BATCH.to_owned()),
                Dim::Fixed(length) => dimension::Value::DimValue(*length as i64),
            }),
            ..Default::default()
        })
        .collect();
    let tensor = pb::type_proto::Tensor { elem_type: kind as i32, shape: Some(pb::TensorShapeProto { dim }) };
    pb::ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_declares_opset_batch_and_names() {
        let mut g = GraphBuilder::new("double");
        let x = g.input_f32("x", &[Dim::Batch, Dim::Fixed(2)]);
        let two = g.scalar(2.0);
        let y = g.node("Mul", &[&x, &two], vec![]);
        g.output_f32("y", &y, &[Dim::Batch, Dim::Fixed(2)]);
        let model = pb::ModelProto::decode(g.finish().unwrap().as_slice()).unwrap();
        assert_eq!(model.opset_import[0].version, 17);
        let graph = model.graph.unwrap();
        assert_eq!((graph.input[0].name.as_str(), graph.output[0].name.as_str()), ("x", "y"));
        let Some(pb::type_proto::Value::TensorType(t)) = graph.input[0].r#type.clone().unwrap().value else {
            panic!("not a tensor")
        };
        assert_eq!(t.shape.unwrap().dim[0].value, Some(dimension::Value::DimParam("N".to_owned())));
    }

    #[test]
    fn equal_constants_are_written_once() {
        let mut g = GraphBuilder::new("twice");
        assert_eq!(g.constant(&[1.0, 2.0], &[2]), g.constant(&[1.0, 2.0], &[2]));
        assert_ne!(g.constant(&[1.0, 2.0], &[2]), g.constant(&[1.0, 2.0], &[1, 2]));
        let model = pb::ModelProto::decode(g.finish().unwrap().as_slice()).unwrap();
        assert_eq!(model.graph.unwrap().initializer.len(), 2);
    }

    #[test]
    fn a_large_matrix_is_halved_where_nothing_is_lost() {
        let exact: Vec<f32> = (0..2048).map(|i| i as f32 / 64.0).collect();
        let inexact: Vec<f32> = exact.iter().map(|v| v + 1e-4).collect();
        for (values, bytes, nodes) in [(&exact, 4096, 1), (&inexact, 8192, 0)] {
            let mut g = GraphBuilder::new("half");
            assert_eq!(g.constant(values, &[32, 64]), g.constant(values, &[32, 64]));
            let graph = pb::ModelProto::decode(g.finish().unwrap().as_slice()).unwrap().graph.unwrap();
            assert_eq!((graph.initializer[0].raw_data.len(), graph.node.len()), (bytes, nodes));
        }
        let mut g = GraphBuilder::new("row");
        g.constant(&exact, &[2048]);
        assert_eq!(g.graph.initializer[0].raw_data.len(), 8192);
    }

    #[test]
    fn a_weight_that_is_not_finite_is_refused() {
        let mut g = GraphBuilder::new("nan");
        g.constant(&[1.0, f32::NAN], &[2]);
        assert!(g.finish().unwrap_err().to_string().contains("not finite"));
    }

    #[test]
    fn a_misshapen_constant_is_refused() {
        let mut g = GraphBuilder::new("shape");
        g.constant(&[1.0], &[2]);
        assert!(matches!(g.finish(), Err(OnnxError::Shape { .. })));
    }
}
