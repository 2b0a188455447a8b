//! A bundle whose outputs are all zero. The stub GPU's kernels do nothing and so also return zeros.

use std::path::{Path, PathBuf};

use edge_model::bundle::{GoldenTensors, sha256_hex};
use edge_trainer::model::ops::{FixedConv, TensorOps};
use edge_trainer::onnx::{Dim, GraphBuilder};
use ndarray::Array2;
use serde_json::{Value, json};

use edge_testing::copy_of_model;

const EMBEDDING: usize = 256;
const SIDE: usize = 384;
const KERNEL: usize = 64;
const TOKENS: usize = 77;

/// A copy of the shipped bundle whose graphs have only zero weights.
pub fn of_zeros(dir: &Path) -> PathBuf {
    let dir = copy_of_model(dir);
    let path = dir.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let Value::Object(architecture) = &mut manifest["architecture"] else { panic!("the manifest has no architecture") };
    architecture.remove("text_embedding_dim");
    architecture.insert("embedding_dim".to_owned(), json!(EMBEDDING));
    // One view, the centre.
    manifest["image_input"]["views"] = json!([]);
    let count = |name: &str| manifest["goldens"][name].as_array().unwrap().len();
    let (images, tags) = (count("images"), count("tags"));
    let tensors = GoldenTensors {
        image_embedding: Array2::zeros((images, EMBEDDING)),
        text_embedding: Array2::zeros((tags, EMBEDDING)),
        score: Array2::zeros((images, tags)),
        similarity: Array2::zeros((images, tags)),
    };
    let files = [
        ("image_encoder.onnx", image_encoder()),
        ("text_encoder.onnx", text_encoder()),
        ("quality_head.onnx", quality_head()),
        ("golden.safetensors", tensors.to_bytes().unwrap()),
    ];
    for (name, bytes) in files {
        std::fs::write(dir.join(name), &bytes).unwrap();
        manifest["files"][name] = json!({ "sha256": sha256_hex(&bytes), "size_bytes": bytes.len() });
    }
    std::fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    dir
}

/// A convolution and a mean: `[N, 3, S, S]` to `[N, D]`.
fn image_encoder() -> Vec<u8> {
    let mut g = GraphBuilder::new("image_encoder");
    let pixels = g.input_f32("pixel_values", &[Dim::Batch, Dim::Fixed(3), Dim::Fixed(SIDE), Dim::Fixed(SIDE)]);
    let weights = vec![0.0; EMBEDDING * 3 * KERNEL * KERNEL];
    let maps = g.conv(pixels, &FixedConv::without_bias(weights, EMBEDDING, KERNEL, KERNEL, 1));
    let embedding = g.mean_of_maps(maps);
    g.output_f32("image_embedding", &embedding, &[Dim::Batch, Dim::Fixed(EMBEDDING)]);
    g.finish().unwrap()
}

/// A product: `[N, T]` to `[N, D]`.
fn text_encoder() -> Vec<u8> {
    let mut g = GraphBuilder::new("text_encoder");
    let ids = g.input_i64("input_ids", &[Dim::Batch, Dim::Fixed(TOKENS)]);
    let ids = g.ids_to_floats(ids);
    let embedding = g.matmul_constant(ids, &vec![0.0; TOKENS * EMBEDDING], EMBEDDING);
    g.output_f32("text_embedding", &embedding, &[Dim::Batch, Dim::Fixed(EMBEDDING)]);
    g.finish().unwrap()
}

/// A product of both embeddings: `[N, D]` and `[N, D]` to `[N]`.
fn quality_head() -> Vec<u8> {
    let mut g = GraphBuilder::new("quality_head");
    let image = g.input_f32("image_embedding", &[Dim::Batch, Dim::Fixed(EMBEDDING)]);
    let text = g.input_f32("text_embedding", &[Dim::Batch, Dim::Fixed(EMBEDDING)]);
    let both = g.concat::<2>(vec![image, text], 1);
    let score = g.matmul_constant(both, &[0.0; 2 * EMBEDDING], 1);
    let score = g.sum::<2, 1>(score, 1);
    g.output_f32("score", &score, &[Dim::Batch]);
    g.finish().unwrap()
}
