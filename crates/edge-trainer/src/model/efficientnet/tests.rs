//! EfficientNet compared with timm on the same random weights (`tests/reference/make_efficientnet_references.py`), and EfficientNet-Lite
//! with its own PyTorch code (`make_lite_references.py`): in burn, and in tract with the normalisations folded into the convolutions.

use std::path::{Path, PathBuf};

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Distribution, Tensor, TensorData};
use ndarray::{ArrayD, IxDyn};
use safetensors::tensor::SafeTensors;

use super::*;
use crate::model::ops::Compute;
use crate::model::reference::{Reference, run};
use crate::model::values::values;
use edge_model::backend::Input;
use edge_testing::skip;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/efficientnet_tiny")
}

fn narrow() -> EfficientNetShape {
    EfficientNetShape::with_channels(8, [8, 8, 8, 8, 16, 24, 32], 128)
}

/// Compares the network with the reference in `dir`, in burn and in tract.
fn compare(dir: &Path, shape: &EfficientNetShape, allowed: f32) {
    let reference = Reference::read(dir);
    let net = EfficientNet::<Flex>::load(&dir.join("model.safetensors"), shape, &Default::default()).unwrap();
    let (dims, pixels) = reference.floats("pixel_values");
    let input = Tensor::from_data(TensorData::new(pixels.clone(), dims.clone()), &Default::default());
    reference.expect(
        "image_embedding",
        &values(net.forward(&mut Compute::new(input.device()), input, dims[2])),
        allowed,
    );
    let mut g = GraphBuilder::new("image_encoder");
    net.export(&mut g, dims[2]);
    let input = ArrayD::from_shape_vec(IxDyn(&dims), pixels).unwrap();
    reference.expect("image_embedding", &run(&g.finish().unwrap(), vec![Input::F32(input)])[0], allowed);
}

#[test]
fn it_agrees_with_timm_in_burn_and_in_tract() {
    compare(&tiny(), &narrow(), 1e-5);
}

/// Compares a B0 of full size, whose weights `scripts/check_backbone efficientnet-b0` makes and passes to the test.
#[test]
fn a_b0_of_full_size_agrees_with_its_maker() {
    match std::env::var_os("EDGE_SCORER_EFFICIENTNET_REFERENCE") {
        Some(dir) => compare(Path::new(&dir), &EfficientNetShape::b0(), 1e-4),
        None => skip(
            "efficientnet::a_b0_of_full_size",
            "scripts/check_backbone efficientnet-b0 makes the weights and passes them to this test",
        ),
    }
}

/// Converts timm's name of a tensor to torchvision's.
fn torchvision_name(name: &str) -> String {
    let (part, last) = name.rsplit_once('.').unwrap();
    let with = |part: &str| format!("{part}.{last}");
    let keys = |ours: super::norm_conv::NormConvKeys, theirs: super::norm_conv::NormConvKeys| {
        [(ours.conv, theirs.conv), (ours.norm, theirs.norm)]
    };
    let (timm, torchvision) = (Layout::Timm, Layout::Torchvision);
    let mut names: Vec<(String, String)> = keys(timm.stem(), torchvision.stem()).into();
    names.extend(keys(timm.head(), torchvision.head()));
    for (index, (stage, number, _)) in narrow().blocks().into_iter().enumerate() {
        let [ours, theirs] = [timm, torchvision].map(|layout| layout.block(index, [stage, number]));
        names.extend(ours.expand.zip(theirs.expand).into_iter().flat_map(|(a, b)| keys(a, b)));
        names.extend(keys(ours.depthwise, theirs.depthwise));
        names.extend(keys(ours.project, theirs.project));
        names.extend(ours.gate.into_iter().zip(theirs.gate));
    }
    names.into_iter().find(|(ours, _)| ours == part).map_or_else(|| name.to_owned(), |(_, theirs)| with(&theirs))
}

#[test]
fn torchvisions_names_serve_as_well_and_a_missing_tensor_is_named() {
    let bytes = std::fs::read(tiny().join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(tiny().join("reference.safetensors"), dir.path().join("reference.safetensors")).unwrap();
    let path = dir.path().join("model.safetensors");
    let renamed = file.tensors().into_iter().map(|(name, view)| (torchvision_name(&name), view));
    std::fs::write(&path, safetensors::serialize(renamed, None).unwrap()).unwrap();
    compare(dir.path(), &narrow(), 1e-5);

    let without = file.tensors().into_iter().filter(|(name, _)| name != "blocks.3.1.se.conv_expand.bias");
    std::fs::write(&path, safetensors::serialize(without, None).unwrap()).unwrap();
    let message = EfficientNet::<Flex>::load(&path, &narrow(), &Default::default()).unwrap_err().to_string();
    assert!(message.contains("lacks the tensor blocks.3.1.se.conv_expand.bias"), "{message}");
}

#[test]
fn a_fresh_network_learns() {
    type B = Autodiff<Flex>;
    let device = Default::default();
    let net = EfficientNet::<B>::new(&narrow(), &device);
    let pixels = Tensor::<B, 4>::random([2, 3, 40, 40], Distribution::Normal(0.0, 1.0), &device);
    let gradients = net.forward(&mut Compute::new(device), pixels, 40).mean().backward();
    let gradient = burn::optim::GradientsParams::from_grads(gradients, &net);
    assert!(gradient.len() > 200, "{}", gradient.len());
}

/// Compares the maps of all stages and the logits of a Lite network with the reference in `dir`, in burn and in tract.
fn compare_lite(dir: &Path, shape: &EfficientNetShape, allowed: f32) {
    let reference = Reference::read(dir);
    let net = EfficientNet::<Flex>::load(&dir.join("model.pth"), shape, &Default::default()).unwrap();
    let (dims, pixels) = reference.floats("pixel_values");
    let side = dims[2];
    let input = Tensor::from_data(TensorData::new(pixels.clone(), dims.clone()), &Default::default());
    let mut ops = Compute::<Flex>::new(input.device());
    let maps = net.maps(&mut ops, input, side);
    assert_eq!(maps.len(), STAGES + 1);
    for (i, maps) in maps.iter().enumerate() {
        reference.expect(&format!("maps_{i}"), &values(maps.values.clone()), allowed);
    }
    let embedding = ops.mean_of_maps(maps[STAGES].values.clone());
    reference.expect("logits", &values(net.logits(&mut ops, embedding).unwrap()), allowed);

    let mut g = GraphBuilder::new("lite");
    let pixel_values = g.input_f32("pixel_values", &[Dim::Batch, Dim::Fixed(3), Dim::Fixed(side), Dim::Fixed(side)]);
    let maps = net.maps(&mut g, pixel_values, side);
    let embedding = TensorOps::mean_of_maps(&mut g, maps[STAGES].values.clone());
    let logits = net.logits(&mut g, embedding).unwrap();
    g.output_f32("logits", &logits, &[Dim::Batch, Dim::Fixed(shape.classes.unwrap())]);
    for (i, maps) in maps.iter().enumerate() {
        let [_, channels, height, width] = reference.floats(&format!("maps_{i}")).0[..] else { panic!("four axes") };
        g.output_f32(
            &format!("maps_{i}"),
            &maps.values,
            &[Dim::Batch, Dim::Fixed(channels), Dim::Fixed(height), Dim::Fixed(width)],
        );
    }
    let input = ArrayD::from_shape_vec(IxDyn(&dims), pixels).unwrap();
    let found = run(&g.finish().unwrap(), vec![Input::F32(input)]);
    reference.expect("logits", &found[0], allowed);
    for (i, maps) in found[1..].iter().enumerate() {
        reference.expect(&format!("maps_{i}"), maps, allowed);
    }
}

#[test]
fn a_narrow_lite_network_agrees_with_its_own_code_in_burn_and_in_tract() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/efficientnet_lite_tiny");
    // Random weights make the rounding grow more from layer to layer than those of the published networks.
    compare_lite(&dir, &EfficientNetShape::narrow_lite(8, [8, 8, 8, 8, 16, 24, 32], 128, 5), 3e-5);
}

/// Compares the published Lite networks, whose references `scripts/check_backbone efficientnet-lite0` makes.
#[test]
fn a_published_lite_network_agrees_with_its_own_code() {
    let shape = match std::env::var("EDGE_SCORER_LITE_NUMBER").as_deref() {
        Ok("2") => EfficientNetShape::lite2(),
        _ => EfficientNetShape::lite0(),
    };
    match std::env::var_os("EDGE_SCORER_LITE_REFERENCE") {
        Some(dir) => compare_lite(Path::new(&dir), &shape, 1e-5),
        None => skip(
            "efficientnet::a_published_lite_network",
            "scripts/check_backbone efficientnet-lite0 fetches the weights and passes them to this test",
        ),
    }
}

#[test]
fn a_lite_network_and_one_of_the_original_family_refuse_each_others_weights() {
    let lite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/efficientnet_lite_tiny/model.pth");
    let message = EfficientNet::<Flex>::load(&lite, &narrow(), &Default::default()).unwrap_err().to_string();
    assert!(message.contains("lacks the tensor _blocks.0._se_reduce.weight"), "{message}");
    let shape = EfficientNetShape::narrow_lite(8, [8, 8, 8, 8, 16, 24, 32], 128, 3);
    let original = tiny().join("model.safetensors");
    let message = EfficientNet::<Flex>::load(&original, &shape, &Default::default()).unwrap_err().to_string();
    assert!(message.contains("tensors that this architecture does not use, the first: blocks.0.0.se."), "{message}");
}

#[test]
fn a_folded_network_computes_the_same_within_16_bits_and_halves_its_graph() {
    let device = Default::default();
    let shape = EfficientNetShape::narrow_lite(16, [16, 16, 24, 24, 32, 48, 64], 256, 5);
    let plain = EfficientNet::<Flex>::new(&shape, &device);
    // The first layer gets statistics and biases that folding must not lose.
    let mut stem = plain.stem.clone();
    stem.set_statistics(0.3, 4.0, -0.2);
    let plain = EfficientNet { stem, ..plain };
    let folded = plain.clone().folded(&device);
    let pixels = Tensor::<Flex, 4>::random([1, 3, 64, 64], burn::tensor::Distribution::Normal(0.0, 1.0), &device);
    let ops = &mut Compute::<Flex>::new(device);
    let maps = |net: &EfficientNet<Flex>, ops: &mut Compute<Flex>| {
        net.maps(ops, pixels.clone(), 64).into_iter().map(|maps| values(maps.values))
    };
    for (expected, found) in maps(&plain, ops).collect::<Vec<_>>().into_iter().zip(maps(&folded, ops)) {
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let off = expected.iter().zip(&found).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(largest > 0.0 && off < 0.01 * largest, "{off} of {largest}");
    }
    let size = |net: &EfficientNet<Flex>| {
        let mut g = GraphBuilder::new("image_encoder");
        net.export(&mut g, 64);
        g.finish().unwrap().len()
    };
    assert!(size(&folded) < size(&plain) * 7 / 10, "{} instead of {}", size(&folded), size(&plain));
}
