//! Builds ONNX graphs as protobuf. The operators and the networks are in [`crate::model`].

mod builder;

pub use builder::{Dim, GraphBuilder, OnnxError, Value, float, int, ints};
