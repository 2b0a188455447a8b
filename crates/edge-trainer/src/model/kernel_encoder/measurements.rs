//! The measurements of a kernel encoder: it computes blocks of numbers from the views of an image.

use burn::tensor::backend::Backend;
use edge_model::image_input::View;

use crate::model::efficientnet::{EfficientNet, LITE_PIXELS, Maps};
use crate::model::measure::{Codebook, MEAN, STD, measure};
use crate::model::ops::{LayerOps, TensorOps};

/// The views of an encoder with an EfficientNet, from top to bottom. The network sees the whole image, as large as it recognises best.
/// The measurements of [`measure`] need pixels: the centre of the image as large as AGIQA-3K's, and squares from all over the image at
/// its own size, where compression and slight blur show.
pub const VIEWS: [View; 3] = [
    View::Whole { size_px: 288 },
    View::Centre { size_px: 384 },
    View::Tiles { size_px: 192, per_side: 2, max_short_px: 1200 },
];
/// Index of the maps whose correlations are measured: those at the end of the sixth stage, which are small but still have places.
const CORRELATED: usize = 5;
/// Largest number of channels that are correlated with as many others.
const CORRELATED_CHANNELS: usize = 64;
/// Added to deviations that divide.
const EPSILON: f32 = 1e-4;

/// How a block of measurements enters the kernels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockShape {
    /// Largest number of principal components.
    pub components: usize,
    /// Weight of the block in each kernel; see [`KernelUse`].
    pub shares: [f32; KERNELS],
}

/// Number of kernels.
pub const KERNELS: usize = 3;

/// The regression that uses a kernel. Each regression is fitted to other data, so each kernel has its own block weights and its own length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelUse {
    /// The answer for the first data set, which people rated. Without a network there is none.
    Rated,
    /// All other answers.
    Answers,
    /// The content; see [`super::ContentFit`].
    Content,
}

impl KernelUse {
    /// All uses, in the order of [`BlockShape::shares`].
    pub const ALL: [Self; KERNELS] = [Self::Rated, Self::Answers, Self::Content];

    /// Distance at which the kernel falls to `1 / e`, in standard deviations of the components.
    pub fn length(self) -> f64 {
        match self {
            Self::Rated => 2.0,
            Self::Answers | Self::Content => 4.0,
        }
    }
}

/// The blocks of an encoder without a network: statistics, codes, spectrum.
const PLAIN: [BlockShape; 3] = [
    BlockShape { components: 64, shares: [0.0, 0.4, 0.0] },
    BlockShape { components: 128, shares: [0.0, 0.3, 0.0] },
    BlockShape { components: 128, shares: [0.0, 0.3, 0.0] },
];

/// Shapes of the blocks that [`measurements`] returns.
pub fn block_shapes(with_network: bool) -> Vec<BlockShape> {
    if !with_network {
        return PLAIN.to_vec();
    }
    // The weights for the rated answer give the best order of AGIQA-3K on held-out prompts (docs/small-model.md, "Five folds"). AGIQA-3K
    // does not show the damage that tiles show.
    let shape = |components, rated: f32, answers: f32, content: f32| BlockShape {
        components,
        shares: [rated / 13.0, answers / 8.0, content / 10.5],
    };
    vec![
        shape(64, 0.5, 1.0, 1.0), // early stages
        shape(64, 2.0, 1.0, 2.0), // middle stages
        shape(64, 2.0, 1.0, 3.0), // late stages
        shape(64, 1.0, 0.0, 3.0), // classes
        shape(48, 3.0, 1.0, 1.5), // correlations
        shape(48, 1.5, 1.0, 0.0), // statistics
        shape(48, 1.5, 1.0, 0.0), // codes
        shape(48, 1.5, 1.0, 0.0), // spectrum
        shape(64, 0.0, 1.0, 0.0), // tiles
    ]
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
/// The blocks with a network: the means and deviations of the maps of its early, middle and late stages, its logits, the correlations
/// between its channels, then those without a network in the centre, then the same three as one block in the tiles.
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
    blocks.extend(measure(ops, centre, centre_px, codebook));
    let of_tiles = measure(ops, tiles, tiles_px, codebook).into();
    blocks.push(ops.concat(of_tiles, 1));
    Measurements { blocks, logits: Some(logits) }
}

/// The means and deviations of the maps of early, middle and late stages, the logits and the correlations; and the logits once more.
fn of_network<B: Backend, O: LayerOps<B>>(
    ops: &mut O,
    (pixels, side_px): (O::Tensor<4>, usize),
    network: &EfficientNet<B>,
) -> (Vec<O::Tensor<2>>, O::Tensor<2>) {
    let [subtracted, divisor] = LITE_PIXELS;
    let pixels = ops.affine(pixels, 255.0 * STD / divisor, (255.0 * MEAN - subtracted) / divisor);
    let (mut embedding, mut related) = (None, None);
    let mut rows: Vec<[O::Tensor<2>; 2]> = Vec::new();
    for maps in network.maps(ops, pixels, side_px) {
        let squares = ops.mul(maps.values.clone(), maps.values.clone());
        let (mean, of_squares) = (ops.mean_of_maps(maps.values.clone()), ops.mean_of_maps(squares));
        let square_of_mean = ops.mul(mean.clone(), mean.clone());
        let variance = ops.sub(of_squares, square_of_mean);
        let variance = ops.relu(variance);
        let deviation = ops.sqrt(variance);
        if rows.len() == CORRELATED {
            related = Some(correlations(ops, maps, [mean.clone(), deviation.clone()]));
        }
        embedding = Some(mean.clone());
        rows.push([mean, deviation]);
    }
    let logits = embedding.and_then(|embedding| network.logits(ops, embedding));
    let late = rows.split_off(6);
    let middle = rows.split_off(3);
    let mut blocks: Vec<_> =
        [rows, middle, late].map(|stages| ops.concat(stages.into_iter().flatten().collect(), 1)).into();
    let logits = logits.unwrap_or_else(|| blocks[2].clone());
    blocks.push(logits.clone());
    blocks.extend(related);
    (blocks, logits)
}

/// The correlations over all places between the first channels and the last: `[N, F]`. Which channels are strong at the same places is
/// the style of a picture (Gatys, Ecker, Bethge, "Image style transfer using convolutional neural networks", 2016, who use the products).
/// `mean` and `deviation` are those of each map, `[N, C]`.
fn correlations<O: TensorOps>(
    ops: &mut O,
    maps: Maps<O::Tensor<4>>,
    [mean, deviation]: [O::Tensor<2>; 2],
) -> O::Tensor<2> {
    let Maps { values, channels, side_px } = maps;
    let count = CORRELATED_CHANNELS.min(channels / 2);
    let places = side_px * side_px;
    let of_channel = [-1, channels as i64, 1, 1];
    let (mean, deviation) = (ops.reshape(mean, of_channel), ops.reshape(deviation, of_channel));
    let deviation = ops.affine(deviation, 1.0, EPSILON);
    let centred = ops.sub(values, mean);
    let standard = ops.div(centred, deviation);
    let rows = |ops: &mut O, channels: std::ops::Range<usize>| {
        let maps = ops.channels(standard.clone(), channels);
        ops.reshape(maps, [-1, count as i64, places as i64])
    };
    let (first, last) = (rows(ops, 0..count), rows(ops, channels - count..channels));
    let last = ops.permute(last, [0, 2, 1]);
    let products = ops.matmul(first, last);
    let flat = ops.reshape(products, [-1, (count * count) as i64]);
    ops.affine(flat, 1.0 / places as f32, 0.0)
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::{Tensor, TensorData};

    use super::*;
    use crate::model::ops::Compute;
    use crate::model::values::values;

    #[test]
    fn correlations_are_those_between_the_first_and_the_last_maps() {
        const CHANNELS: usize = 7;
        const SIDE: usize = 3;
        let map = |image: usize, channel: usize| -> Vec<f32> {
            (0..SIDE * SIDE)
                .map(|p| ((p * 13 + channel * 29 + image * 7) as f32 * 0.37).sin() * (channel + 1) as f32)
                .collect()
        };
        let all: Vec<f32> = (0..2 * CHANNELS).flat_map(|i| map(i / CHANNELS, i % CHANNELS)).collect();
        let moments = |values: &[f32]| {
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt())
        };
        let device = Default::default();
        let of_maps = |which: fn((f32, f32)) -> f32| {
            let values: Vec<f32> = all.chunks(SIDE * SIDE).map(|map| which(moments(map))).collect();
            Tensor::<Flex, 2>::from_data(TensorData::new(values, [2, CHANNELS]), &device)
        };
        let values_of_maps = Tensor::from_data(TensorData::new(all.clone(), [2, CHANNELS, SIDE, SIDE]), &device);
        let maps = Maps { values: values_of_maps, channels: CHANNELS, side_px: SIDE };
        let found = values(correlations(&mut Compute::<Flex>::new(device), maps, [of_maps(|m| m.0), of_maps(|m| m.1)]));
        // Half of seven channels is three: the first three with the last three.
        assert_eq!(found.len(), 2 * 3 * 3);
        for (at, found) in found.iter().enumerate() {
            let (image, first, last) = (at / 9, map(at / 9, at / 3 % 3), map(at / 9, CHANNELS - 3 + at % 3));
            let ((mean_a, deviation_a), (mean_b, deviation_b)) = (moments(&first), moments(&last));
            let products = first.iter().zip(&last).map(|(a, b)| (a - mean_a) * (b - mean_b));
            let expected = products.sum::<f32>() / (SIDE * SIDE) as f32 / (deviation_a * deviation_b);
            assert!((found - expected).abs() < 1e-3, "image {image}: {found} instead of {expected}");
        }
    }
}
