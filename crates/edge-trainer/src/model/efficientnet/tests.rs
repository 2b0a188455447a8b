//! EfficientNet compared with timm on the same random weights (`tests/reference/make_efficientnet_references.py`): in burn, and in
//! tract with the normalisations folded into the convolutions.

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
    reference.expect("image_embedding", &values(net.forward(&mut Compute::new(input.device()), input)), allowed);
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
    for (stage, number, _) in narrow().blocks() {
        let (ours, theirs) = (timm.block(stage, number), torchvision.block(stage, number));
        names.extend(ours.expand.zip(theirs.expand).into_iter().flat_map(|(a, b)| keys(a, b)));
        names.extend(keys(ours.depthwise, theirs.depthwise));
        names.extend(keys(ours.project, theirs.project));
        names.extend([(ours.squeeze, theirs.squeeze), (ours.excite, theirs.excite)]);
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
    let gradients = net.forward(&mut Compute::new(device), pixels).mean().backward();
    let gradient = burn::optim::GradientsParams::from_grads(gradients, &net);
    assert!(gradient.len() > 200, "{}", gradient.len());
}
