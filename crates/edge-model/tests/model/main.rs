//! The library `edge-model` from outside: bundles, decoding and tags.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bundle;
mod image_input;
mod onnx_runtime;
mod text;
