//! Tests of the library `edge-model` through its public items: bundles, decoding and tags.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bundle;
mod bundle_writer;
mod image_input;
mod onnx_runtime;
mod text;
