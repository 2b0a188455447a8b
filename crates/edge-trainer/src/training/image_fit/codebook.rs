//! Learns the codebook from patches of the training images.

use burn::tensor::Tensor;
use edge_model::image_input::{InputRule, View};
use nalgebra::DMatrix;
use ndarray::{Array3, s};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::images::on_images;
use crate::dataset::Example;
use crate::device::Host;
use crate::gradient_free::{Filters, learn_filters};
use crate::loader::to_tensor;
use crate::message::Listener;
use crate::model::measure::{CODE_PATCH_PX, CodeLevel, Codebook, SCALES, contrast_floor, patch_planes};
use crate::model::{Compute, values};
use crate::training::error::LearnError;

/// Most images from which patches are cut.
const PATCHED: usize = 700;
/// Number of patches that are cut from each image at every scale.
const PATCHES: usize = 80;
/// Number of values of a patch, in three planes.
const PATCH: usize = 3 * CODE_PATCH_PX * CODE_PATCH_PX;

/// Learns `count` filters for every scale from patches of up to [`PATCHED`] images.
pub(super) fn learn_codebook(
    count: usize,
    rule: &InputRule,
    images: &[&Example],
    rng: &mut StdRng,
    listener: &mut dyn Listener,
) -> Result<Codebook, LearnError> {
    let stride = images.len().div_ceil(PATCHED).max(1);
    let some: Vec<&Example> = images.iter().step_by(stride).copied().collect();
    let seed: u64 = rng.random();
    let patches = |pixels: Array3<f32>| {
        let pixels = to_tensor(&centre(rule, pixels));
        let planes = patch_planes(&mut Compute::<Host>::new(pixels.device()), pixels);
        planes.map(|planes| cut_patches(&planes, seed))
    };
    let patches = on_images("learning filters", &some, rule, patches, listener)?;
    let mut learn = |scale: usize| {
        let rows: Vec<f64> = patches.iter().flat_map(|of_image| &of_image[scale]).copied().collect();
        let Filters { filters, shifts } =
            learn_filters(&DMatrix::from_row_slice(rows.len() / PATCH, PATCH, &rows), count, rng);
        CodeLevel { filters: centred_filters(&filters), shifts: shifts.iter().map(|v| *v as f32).collect() }
    };
    Ok(Codebook(std::array::from_fn::<_, SCALES, _>(&mut learn)))
}

/// The pixels of the view of the centre.
fn centre(rule: &InputRule, pixels: Array3<f32>) -> Array3<f32> {
    let mut top = 0;
    for view in rule.all_views() {
        let side = view.size_px() as usize;
        if matches!(view, View::Centre { .. }) {
            return pixels.slice_move(s![.., top..top + side, ..side]);
        }
        top += side;
    }
    pixels
}

/// Cuts random patches from `planes [1, 3, S, S]`. Each plane of a patch has the mean 0, each patch about the deviation
/// 1.
fn cut_patches(planes: &Tensor<Host, 4>, seed: u64) -> Vec<f64> {
    let [_, _, height, width] = planes.dims();
    let pixels = values(planes.clone());
    // The positions are the same in every image. They need not differ, because the images do.
    let mut rng = StdRng::seed_from_u64(seed);
    let side = CODE_PATCH_PX;
    let mut patches = Vec::with_capacity(PATCHES * PATCH);
    for _ in 0..PATCHES {
        let (top, left) = (rng.random_range(0..=height - side), rng.random_range(0..=width - side));
        let mut patch = Vec::with_capacity(PATCH);
        for plane in 0..3 {
            let row = |y: usize| (plane * height + top + y) * width + left;
            let values: Vec<f64> =
                (0..side).flat_map(|y| &pixels[row(y)..row(y) + side]).map(|v| f64::from(*v)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            patch.extend(values.iter().map(|v| v - mean));
        }
        let variance = patch.iter().map(|v| v * v).sum::<f64>() / PATCH as f64;
        let deviation = (variance + f64::from(contrast_floor())).sqrt();
        patches.extend(patch.iter().map(|v| v / deviation));
    }
    patches
}

/// Subtracts the mean of each plane from the filters and returns them row-major, `[K, PATCH]`. The filters were learned
/// from centred patches and are applied to pixels that are not centred. Centred filters respond equally to both.
fn centred_filters(filters: &DMatrix<f64>) -> Vec<f32> {
    let plane = PATCH / 3;
    let mut rows = Vec::with_capacity(filters.len());
    for filter in filters.row_iter() {
        let filter: Vec<f64> = filter.iter().copied().collect();
        for part in filter.chunks(plane) {
            let mean = part.iter().sum::<f64>() / plane as f64;
            rows.extend(part.iter().map(|v| (v - mean) as f32));
        }
    }
    rows
}
