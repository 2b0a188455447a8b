//! The library `edge-model` from outside: bundles, decoding, tags and stored embeddings.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bundle;
mod image_input;
mod onnx_runtime;
mod stored_embeddings;
mod text;
