//! Tests that ONNX Runtime reproduces the goldens with the shipped bundle's graphs. The graphs of other heads and backbones are
//! tested in `edge-trainer`, `tests/trainer/backbones.rs`.

#[path = "../support/onnx_runtime.rs"]
mod support;

#[test]
fn the_shipped_graphs_pass_the_onnx_checker_and_agree_with_onnx_runtime() {
    let test = "onnx_runtime::the_shipped_graphs_pass_the_onnx_checker_and_agree_with_onnx_runtime";
    if support::is_installed(test) {
        support::assert_agrees(&edge_testing::model());
    }
}
