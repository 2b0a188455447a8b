//! The measurements of a kernel encoder: it computes blocks of numbers from the views of an image.

use burn::tensor::backend::Backend;
use edge_model::image_input::View;

use crate::model::efficientnet::{EfficientNet, LITE_PIXELS};
use crate::model::measure::{Codebook, MEAN, STD, measure};
use crate::model::ops::LayerOps;

/// The views of an encoder with an EfficientNet, from top to bottom. The network sees the whole image, as large as it recognises best.
/// The measurements of [`measure`] need pixels: the centre of the image as large as AGIQA-3K's, and squares from all over the image at
/// its own size, where compression and slight blur show.
pub const VIEWS: [View; 3] = [
    View::Whole { size_px: 288 },
    View::Centre { size_px: 384 },
    View::Tiles { size_px: 192, per_side: 2, max_short_px: 1200 },
];
/// Number of blocks with an EfficientNet.
const BLOCKS: usize = 8;

/// How a block of measurements enters the kernels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockShape {
    /// Largest number of principal components.
    pub components: usize,
    /// Weight of the block in the kernel of the answers, and in the kernel of the content.
    pub shares: [f32; 2],
}

/// The blocks of an encoder without a network: statistics, codes, spectrum.
const PLAIN: [BlockShape; 3] = [
    BlockShape { components: 64, shares: [0.4, 0.0] },
    BlockShape { components: 128, shares: [0.3, 0.0] },
    BlockShape { components: 128, shares: [0.3, 0.0] },
];

/// Shapes of the blocks that [`measurements`] returns.
pub fn block_shapes(with_network: bool) -> Vec<BlockShape> {
    if !with_network {
        return PLAIN.to_vec();
    }
    let share = 1.0 / (BLOCKS - 1) as f32;
    let components = 64;
    let of_network = BlockShape { components, shares: [share, 0.25] };
    let classes = BlockShape { components, shares: [0.0, 0.25] };
    let of_pixels = BlockShape { components, shares: [share, 0.0] };
    vec![of_network, of_network, of_network, classes, of_pixels, of_pixels, of_pixels, of_pixels]
}

/// The measurements of N images.
pub struct Measurements<T> {
    /// Blocks of measurements, `[N, F]` each; see [`block_shapes`].
    pub blocks: Vec<T>,
    /// Logits of the network's classes, `[N, K]`; `None` without a network.
    pub logits: Option<T>,
}

/// Measures images. `pixel_values [N, 3, H, W]` hold the views of the images one below the other, normalised by [`MEAN`] and [`STD`];
/// `width_px` is W. Without a network the only view is a square of W pixels; with a network the views are [`VIEWS`].
///
/// The blocks with a network: the means and deviations of the maps of its early, middle and late stages, its logits, then those without
/// a network in the centre, then the same three as one block in the tiles.
pub fn measurements<B: Backend, O: LayerOps<B>>(
    ops: &mut O,
    pixel_values: O::Tensor<4>,
    width_px: usize,
    codebook: &Codebook,
    network: Option<&EfficientNet<B>>,
) -> Measurements<O::Tensor<2>> {
    let Some(network) = network else {
        return Measurements { blocks: measure(ops, pixel_values, width_px, codebook).into(), logits: None };
    };
    let mut top = 0;
    let views = VIEWS.map(|view| {
        let side_px = view.size_px() as usize;
        let rows = ops.slice(pixel_values.clone(), 2, top..top + side_px);
        top += side_px;
        let pixels = if side_px < width_px { ops.slice(rows, 3, 0..side_px) } else { rows };
        (pixels, side_px)
    });
    let [whole, (centre, centre_px), (tiles, tiles_px)] = views;
    let (mut blocks, logits) = of_network(ops, whole, network);
    blocks.push(logits.clone());
    blocks.extend(measure(ops, centre, centre_px, codebook));
    let of_tiles = measure(ops, tiles, tiles_px, codebook).into();
    blocks.push(ops.concat(of_tiles, 1));
    Measurements { blocks, logits: Some(logits) }
}

/// The means and deviations of the maps of early, middle and late stages, and the logits.
fn of_network<B: Backend, O: LayerOps<B>>(
    ops: &mut O,
    (pixels, side_px): (O::Tensor<4>, usize),
    network: &EfficientNet<B>,
) -> (Vec<O::Tensor<2>>, O::Tensor<2>) {
    let [subtracted, divisor] = LITE_PIXELS;
    let pixels = ops.affine(pixels, 255.0 * STD / divisor, (255.0 * MEAN - subtracted) / divisor);
    let mut embedding = None;
    let mut rows: Vec<[O::Tensor<2>; 2]> = Vec::new();
    for maps in network.maps(ops, pixels, side_px) {
        let squares = ops.mul(maps.clone(), maps.clone());
        let (mean, of_squares) = (ops.mean_of_maps(maps), ops.mean_of_maps(squares));
        let square_of_mean = ops.mul(mean.clone(), mean.clone());
        let variance = ops.sub(of_squares, square_of_mean);
        let variance = ops.relu(variance);
        embedding = Some(mean.clone());
        rows.push([mean, ops.sqrt(variance)]);
    }
    let logits = embedding.and_then(|embedding| network.logits(ops, embedding));
    let late = rows.split_off(6);
    let middle = rows.split_off(3);
    let blocks = [rows, middle, late].map(|stages| ops.concat(stages.into_iter().flatten().collect(), 1));
    let logits = logits.unwrap_or_else(|| blocks[2].clone());
    (blocks.into(), logits)
}
