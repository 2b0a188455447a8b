//! Checks a bundle's graphs with the ONNX checker and ONNX Runtime, through `scripts/check_onnx.py`.

use std::path::Path;
use std::process::Command;

use edge_model::backend::DeviceChoice;
use edge_model::bundle::manifest::file;
use edge_model::image_input::{Limits, pixel_values};
use edge_model::scorer::Scorer;
use edge_model::text::TagTokenizer;
use safetensors::tensor::{Dtype, TensorView};

use edge_testing::{repository, skip};

/// The Python interpreter that runs the script.
fn python() -> String {
    std::env::var("EDGE_SCORER_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// The inputs of the bundle's goldens, prepared by the library: `pixel_values` and `input_ids` as a safetensors file.
fn golden_inputs(bundle: &Path) -> Vec<u8> {
    let scorer = Scorer::open(bundle, DeviceChoice::Cpu).unwrap();
    let manifest = scorer.manifest();
    let goldens = &manifest.goldens;
    let pixels: Vec<u8> = goldens
        .images
        .iter()
        .flat_map(|name| {
            let bytes = scorer.bundle().read(name).unwrap();
            pixel_values(&scorer.decode(&bytes, &Limits::default()).unwrap(), &manifest.image_input)
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
    let (width, height) = manifest.image_input.input_size();
    let pixel_shape = vec![goldens.images.len(), 3, height as usize, width as usize];
    let id_shape = vec![goldens.tags.len(), manifest.text_input.context_length];
    let tensors = [
        ("pixel_values", TensorView::new(Dtype::F32, pixel_shape, &pixels).unwrap()),
        ("input_ids", TensorView::new(Dtype::I64, id_shape, &ids).unwrap()),
    ];
    safetensors::serialize(tensors, None).unwrap()
}

/// Whether Python and the packages that the script needs are installed. If not, reports `test` as skipped.
pub fn is_installed(test: &str) -> bool {
    let advice = "set EDGE_SCORER_PYTHON to a Python with numpy, onnx and onnxruntime";
    let reason = match Command::new(python()).args(["-c", "import numpy, onnx, onnxruntime"]).output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
            format!("{}: {said}; {advice}", python())
        }
        Err(e) => format!("{} does not run ({e}); {advice}", python()),
    };
    skip(test, &reason);
    false
}

/// Fails unless all graphs of a bundle pass the ONNX checker and reproduce the goldens in ONNX Runtime.
#[track_caller]
pub fn assert_agrees(bundle: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let inputs = dir.path().join("inputs.safetensors");
    std::fs::write(&inputs, golden_inputs(bundle)).unwrap();
    let mut command = Command::new(python());
    let output =
        command.arg(repository("scripts/check_onnx.py")).arg(bundle).arg("--inputs").arg(&inputs).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{}\n{out}{err}", bundle.display());
    assert!(output.status.success() && out.contains("agrees within"), "{out}{err}");
}
