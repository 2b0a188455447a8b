//! Writing ONNX graphs. Knows the protobuf types; the operators and the networks are in [`crate::model`].

mod builder;

pub use builder::{Dim, GraphBuilder, OnnxError, Value, float, int, ints};
