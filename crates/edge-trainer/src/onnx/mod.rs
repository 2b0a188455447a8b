//! Writing ONNX graphs. Knows the protobuf types and the operators' attributes; it knows nothing about the networks, which
//! export themselves through [`GraphBuilder`].

mod builder;
mod nodes;

pub use builder::{Dim, GraphBuilder, OnnxError, Value};
pub use nodes::ConvShape;
