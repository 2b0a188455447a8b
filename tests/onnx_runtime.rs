//! The shipped bundle's graphs outside of this project's own engines. Those of the other heads and backbones: `backbones.rs`.

mod common;

use common::onnx_runtime;

#[test]
fn the_shipped_graphs_pass_the_onnx_checker_and_agree_with_onnx_runtime() {
    if onnx_runtime::is_there("the_shipped_graphs_pass_the_onnx_checker_and_agree_with_onnx_runtime") {
        onnx_runtime::assert_agrees(&common::model());
    }
}
