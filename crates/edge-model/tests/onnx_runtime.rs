//! The shipped bundle's graphs outside of this project's own engines. Those of the other heads and backbones are tested in
//! `edge-trainer`, `tests/backbones.rs`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/onnx_runtime.rs"]
mod onnx_runtime;

#[test]
fn the_shipped_graphs_pass_the_onnx_checker_and_agree_with_onnx_runtime() {
    if onnx_runtime::is_there("the_shipped_graphs_pass_the_onnx_checker_and_agree_with_onnx_runtime") {
        onnx_runtime::assert_agrees(&edge_testing::model());
    }
}
