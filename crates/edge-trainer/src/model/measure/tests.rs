//! Compares the measurements in burn and in tract with numpy's on the same inputs (`tests/reference/make_measure_references.py`).

use std::path::Path;

use burn::backend::Flex;
use burn::tensor::{Distribution, Tensor, TensorData};
use ndarray::{ArrayD, IxDyn};

use super::*;
use crate::model::ops::Compute;
use crate::model::reference::{Reference, run};
use crate::model::values;
use crate::onnx::{Dim, GraphBuilder};
use edge_model::backend::Input;

const NAMES: [&str; BLOCKS] = ["statistics", "codes", "spectrum"];

fn reference() -> Reference {
    Reference::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/measure"))
}

fn codebook(reference: &Reference) -> Codebook {
    let level = |i: usize| CodeLevel {
        filters: reference.floats(&format!("filters_{i}")).1,
        shifts: reference.floats(&format!("shifts_{i}")).1,
    };
    Codebook(std::array::from_fn(level))
}

/// Numbers of measurements in the blocks.
fn lengths(codebook: &Codebook) -> [usize; BLOCKS] {
    [80, 2 * SCALES * codebook.0[0].shifts.len(), 765]
}

fn computed(pixels: Tensor<Flex, 4>, codebook: &Codebook) -> [Vec<f32>; BLOCKS] {
    let side_px = pixels.dims()[2];
    measure(&mut Compute::new(pixels.device()), pixels, side_px, codebook).map(values)
}

#[test]
fn burn_and_tract_measure_what_numpy_measures() {
    let reference = reference();
    let codebook = codebook(&reference);
    let (dims, pixels) = reference.floats("pixel_values");
    let input = Tensor::from_data(TensorData::new(pixels.clone(), dims.clone()), &Default::default());
    let mut g = GraphBuilder::new("measure");
    let side = Dim::Fixed(dims[2]);
    let x = g.input_f32("pixel_values", &[Dim::Batch, Dim::Fixed(3), side, side]);
    let blocks = measure(&mut g, x, dims[2], &codebook);
    for ((name, block), length) in NAMES.iter().zip(&blocks).zip(lengths(&codebook)) {
        assert_eq!(reference.floats(name).0, [dims[0], length]);
        g.output_f32(name, block, &[Dim::Batch, Dim::Fixed(length)]);
    }
    let in_tract = run(&g.finish().unwrap(), vec![Input::F32(ArrayD::from_shape_vec(IxDyn(&dims), pixels).unwrap())]);
    for ((name, in_burn), in_tract) in NAMES.iter().zip(computed(input, &codebook)).zip(in_tract) {
        reference.expect(name, &in_burn, 5e-4);
        reference.expect(name, &in_tract, 5e-4);
    }
}

#[test]
fn every_measurement_is_finite_from_the_smallest_size_on() {
    let reference = reference();
    let codebook = codebook(&reference);
    let device = Default::default();
    for side in [MIN_SIZE_PX as usize, 70, 97] {
        let blank = Tensor::<Flex, 4>::zeros([1, 3, side, side], &device);
        let noise = Tensor::<Flex, 4>::random([1, 3, side, side], Distribution::Uniform(-2.0, 2.0), &device);
        let measured = computed(Tensor::cat(vec![blank, noise], 0), &codebook);
        for (block, length) in measured.iter().zip(lengths(&codebook)) {
            assert_eq!(block.len(), 2 * length);
            assert!(block.iter().all(|v| v.is_finite()));
        }
    }
}
