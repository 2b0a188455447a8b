//! The shipped bundle's graphs outside of this project's own engines: the ONNX checker and ONNX Runtime, through
//! `scripts/check_onnx.py`. Says loudly that it skipped where Python or its packages are missing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Command;

use edge_scorer::backend::DeviceChoice;
use edge_scorer::bundle::manifest::file;
use edge_scorer::image_input::Limits;
use edge_scorer::scorer::Scorer;
use edge_scorer::text::TagTokenizer;
use safetensors::tensor::{Dtype, TensorView};

fn python() -> String {
    std::env::var("EDGE_SCORER_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// The inputs that belong to the bundle's goldens, prepared by the library, as a safetensors file.
fn golden_inputs(bundle: &Path) -> Vec<u8> {
    let scorer = Scorer::open(bundle, DeviceChoice::Cpu).unwrap();
    let manifest = scorer.manifest();
    let goldens = &manifest.goldens;
    let pixels: Vec<u8> = goldens
        .images
        .iter()
        .flat_map(|name| {
            let bytes = scorer.bundle().read(name).unwrap();
            scorer.pixel_values(&scorer.decode(&bytes, &Limits::default()).unwrap())
        })
        .flat_map(f32::to_le_bytes)
        .collect();
    let tokenizer = TagTokenizer::from_file(&bundle.join(file::TOKENIZER), manifest.text_input.clone()).unwrap();
    let ids: Vec<u8> = goldens
        .tags
        .iter()
        .flat_map(|tag| tokenizer.encode(tag, manifest.tag(tag).and_then(|t| t.prompt.as_deref())).unwrap())
        .flat_map(i64::to_le_bytes)
        .collect();
    let size = manifest.image_input.size_px as usize;
    let pixel_shape = vec![goldens.images.len(), 3, size, size];
    let id_shape = vec![goldens.tags.len(), manifest.text_input.context_length];
    let tensors = [
        ("pixel_values", TensorView::new(Dtype::F32, pixel_shape, &pixels).unwrap()),
        ("input_ids", TensorView::new(Dtype::I64, id_shape, &ids).unwrap()),
    ];
    safetensors::serialize(tensors, None).unwrap()
}

#[test]
fn the_shipped_graphs_pass_the_onnx_checker_and_agree_with_onnx_runtime() {
    let test = "the_shipped_graphs_pass_the_onnx_checker_and_agree_with_onnx_runtime";
    let advice = "set EDGE_SCORER_PYTHON to a Python with numpy, onnx and onnxruntime";
    match Command::new(python()).args(["-c", "import numpy, onnx, onnxruntime"]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
            return common::skip(test, &format!("{}: {said}; {advice}", python()));
        }
        Err(e) => return common::skip(test, &format!("{} does not run ({e}); {advice}", python())),
    }
    let bundle = common::repository("models/small");
    let dir = tempfile::tempdir().unwrap();
    let inputs = dir.path().join("inputs.safetensors");
    std::fs::write(&inputs, golden_inputs(&bundle)).unwrap();
    let output = Command::new(python())
        .arg(common::repository("scripts/check_onnx.py"))
        .arg(&bundle)
        .arg("--inputs")
        .arg(&inputs)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}{err}");
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("agrees within"), "{out}");
}
