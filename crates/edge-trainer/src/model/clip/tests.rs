//! Compares CLIP with `transformers` on the same random weights (`tests/reference/make_clip_references.py`), in burn and, after the export,
//! in tract. Tests each trap of real files.

use std::path::{Path, PathBuf};

use burn::backend::Flex;
use burn::tensor::{Int, Tensor, TensorData};
use ndarray::{ArrayD, IxDyn};
use safetensors::tensor::SafeTensors;
use serde_json::{Value, json};

use super::*;
use crate::model::ops::Compute;
use crate::model::reference::{Reference, run};
use crate::model::values::values;
use crate::onnx::GraphBuilder;
use edge_model::backend::Input;
use edge_testing::skip;

/// Largest allowed difference to `transformers`, as a share of the largest value, for 32-bit floats and two layers.
const ALLOWED: f32 = 2e-6;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/clip_tiny")
}

fn config_with(change: impl FnOnce(&mut Value)) -> ClipConfig {
    let dir = tempfile::tempdir().unwrap();
    let mut config: Value = serde_json::from_slice(&std::fs::read(tiny().join("config.json")).unwrap()).unwrap();
    change(&mut config);
    let path = dir.path().join("config.json");
    std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    ClipConfig::read(&path).unwrap()
}

fn load_with(config: &ClipConfig) -> (ClipVision<Flex>, ClipText<Flex>) {
    load(&tiny().join("model.safetensors"), config, &Default::default()).unwrap()
}

fn loaded() -> (ClipVision<Flex>, ClipText<Flex>) {
    load_with(&ClipConfig::read(&tiny().join("config.json")).unwrap())
}

fn ops() -> Compute<Flex> {
    Compute::new(Default::default())
}

fn pixels(shape: &[usize], values: Vec<f32>) -> Tensor<Flex, 4> {
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

fn ids(shape: &[usize], values: Vec<i64>) -> Tensor<Flex, 2, Int> {
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

fn image_embedding(vision: &ClipVision<Flex>) -> Vec<f32> {
    let (shape, pixel_values) = Reference::read(&tiny()).floats("pixel_values");
    values(vision.forward(&mut ops(), pixels(&shape, pixel_values)).0)
}

fn text_embedding(text: &ClipText<Flex>, change: impl FnOnce(&mut [i64])) -> Vec<f32> {
    let (shape, mut input_ids) = Reference::read(&tiny()).ids();
    change(&mut input_ids);
    values(text.forward(&mut ops(), ids(&shape, input_ids), shape[1]).embedding)
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

/// Compares both encoders with the reference in `dir`, in burn and in tract.
fn compare(dir: &Path, allowed: f32) {
    let reference = Reference::read(dir);
    let config = ClipConfig::read(&dir.join("config.json")).unwrap();
    let (vision, text) = load::<Flex>(&dir.join("model.safetensors"), &config, &Default::default()).unwrap();
    let (pixel_shape, pixel_values) = reference.floats("pixel_values");
    let (id_shape, input_ids) = reference.ids();

    let (embedding, states) = vision.forward(&mut ops(), pixels(&pixel_shape, pixel_values.clone()));
    let patches = vision.patch_tokens(&mut ops(), states);
    reference.expect("image_embedding", &values(embedding), allowed);
    reference.expect("patch_tokens", &values(patches), allowed);
    let encoded = text.forward(&mut ops(), ids(&id_shape, input_ids.clone()), id_shape[1]);
    reference.expect("text_embedding", &values(encoded.embedding), allowed);
    reference.expect("token_states", &values(encoded.states), allowed);

    let mut g = GraphBuilder::new("image_encoder");
    vision.export(&mut g, true);
    let pixel_values = ArrayD::from_shape_vec(IxDyn(&pixel_shape), pixel_values).unwrap();
    let found = run(&g.finish().unwrap(), vec![Input::F32(pixel_values)]);
    reference.expect("image_embedding", &found[0], allowed);
    reference.expect("patch_tokens", &found[1], allowed);
    let mut g = GraphBuilder::new("text_encoder");
    text.export(&mut g, id_shape[1], true);
    let input_ids = ArrayD::from_shape_vec(IxDyn(&id_shape), input_ids).unwrap();
    let found = run(&g.finish().unwrap(), vec![Input::I64(input_ids)]);
    reference.expect("text_embedding", &found[0], allowed);
    reference.expect("token_states", &found[1], allowed);
    assert_eq!(found[2], values(encoded.mask));
}

#[test]
fn both_encoders_agree_with_transformers_in_burn_and_in_tract() {
    compare(&tiny(), ALLOWED);
}

/// Compares a model of full size, which `scripts/check_backbone` makes and passes to the test.
#[test]
fn a_model_of_full_size_agrees_with_transformers() {
    match std::env::var_os("EDGE_SCORER_CLIP_REFERENCE") {
        Some(dir) => compare(Path::new(&dir), 1e-4),
        None => skip("clip::a_model_of_full_size", "scripts/check_backbone makes one and compares it"),
    }
}

#[test]
fn quick_gelu_is_not_gelu() {
    let (quick, _) = loaded();
    let (exact, _) = load_with(&config_with(|c| c["vision_config"]["hidden_act"] = json!("gelu")));
    assert!(largest_difference(&image_embedding(&quick), &image_embedding(&exact)) > 1e-3);
}

#[test]
fn a_text_does_not_see_what_comes_behind_it() {
    let (_, text) = loaded();
    let before = text_embedding(&text, |_| {});
    // The first text of ten tokens ends with its third.
    assert_eq!(text_embedding(&text, |ids| ids[4] = 7), before);
    assert_ne!(text_embedding(&text, |ids| ids[1] = 7), before);
    let (shape, input_ids) = Reference::read(&tiny()).ids();
    let mask = values(text.forward(&mut ops(), ids(&shape, input_ids), shape[1]).mask);
    assert_eq!(mask.iter().sum::<f32>(), 3.0 + 5.0 + 10.0);
    assert_eq!(mask[..4], [1.0, 1.0, 1.0, 0.0]);
}

#[test]
fn an_end_of_text_of_2_means_the_highest_id() {
    let at = |id: i64| {
        let (_, text) = load_with(&config_with(|c| c["text_config"]["eos_token_id"] = json!(id)));
        text_embedding(&text, |_| {})
    };
    assert_eq!(at(2), at(59));
    // The id that begins each text.
    assert!(largest_difference(&at(2), &at(58)) > 1e-3);
}

#[test]
fn the_first_normalisation_counts_under_its_odd_name() {
    let bytes = std::fs::read(tiny().join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let config = ClipConfig::read(&tiny().join("config.json")).unwrap();
    let write = |rename: &dyn Fn(&str) -> String| {
        let tensors = file.tensors().into_iter().map(|(name, view)| (rename(&name), view));
        std::fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
        load::<Flex>(&path, &config, &Default::default()).unwrap_err().to_string()
    };
    let message = write(&|name| name.replace("pre_layrnorm", "pre_layernorm"));
    let expected =
        "lacks the tensor vision_model.pre_layrnorm.weight; the most similar name in the file is vision_model.";
    assert!(message.contains(expected), "{message}");
    let message = write(&|name| name.replace("logit_scale", "logit_bias"));
    assert!(message.contains("holds 1 tensors") && message.contains("the first: logit_bias"), "{message}");
}

#[test]
fn a_configuration_of_another_size_is_refused_by_the_tensors_name() {
    let refused = |change: fn(&mut Value)| {
        let config = config_with(change);
        load::<Flex>(&tiny().join("model.safetensors"), &config, &Default::default()).unwrap_err().to_string()
    };
    let message = refused(|c| c["projection_dim"] = json!(33));
    assert!(message.contains("visual_projection.weight has the shape [32, 16]"), "{message}");
    let message = refused(|c| c["text_config"]["num_hidden_layers"] = json!(1));
    assert!(message.contains("does not use, the first: text_model.encoder.layers.1."), "{message}");
}
