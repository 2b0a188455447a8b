//! What the small image encoder measures of a picture: natural-scene statistics, the energies of a cosine transform, and the
//! responses of filters that were found in pictures without knowing their scores. Three blocks of numbers; nothing here is
//! fitted to scores.

mod codes;
mod spectrum;
mod statistics;
#[cfg(test)]
mod tests;

use super::maps::{Kernel, MapOps};

pub use codes::{CODE_PATCH_PX, CodeLevel, Codebook, contrast_floor};
pub use spectrum::SPECTRUM;
pub use statistics::STATISTICS;

/// The smallest side of an input that leaves something to measure at every scale.
pub const MIN_SIZE_PX: u32 = 64;
/// What is taken from every channel of a picture's pixels, on the scale 0..1.
pub const MEAN: f32 = 0.5;
/// What they are divided by then.
pub const STD: f32 = 0.25;
/// Native, half and quarter size.
pub const SCALES: usize = 3;
/// Blocks of measurements.
pub const BLOCKS: usize = 3;

/// About the variance of rounding to 8 bits: below it, nothing is measured.
const ROUNDING: f32 = 1e-6;
/// ITU-R BT.601.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Measures `pixel_values [N, 3, S, S]`, normalised by [`MEAN`] and [`STD`], with `side_px` for S: [`STATISTICS`] numbers, those of
/// the codebook, and [`SPECTRUM`] numbers, `[N, F]` each.
pub fn measure<O: MapOps>(ops: &mut O, pixel_values: &O::Map, side_px: usize, codebook: &Codebook) -> [O::Row; BLOCKS] {
    let [native, half, quarter] = patch_planes(ops, pixel_values);
    let half_pixels = halve(ops, pixel_values);
    let half_colours = ops.conv(&half_pixels, &colours_kernel());

    let (spectrum, kurtosis) = spectrum::measure(ops, &native);
    let mut rows = statistics::measure(ops, &half_colours, &half, side_px / 2);
    rows.push(kurtosis);
    let statistics = ops.row_stack(&rows);
    let codes = codes::measure(ops, [&native, &half, &quarter], side_px, codebook);
    [statistics, codes, spectrum]
}

/// The planes that patches for a codebook are cut from, at every scale: grey, red against green, and yellow against blue,
/// `[N, 3, S, S]`.
pub fn patch_planes<O: MapOps>(ops: &mut O, pixel_values: &O::Map) -> [O::Map; SCALES] {
    let native = ops.conv(pixel_values, &planes_kernel());
    let half = halve(ops, &native);
    let quarter = halve(ops, &half);
    [native, half, quarter]
}

/// Half the size: the mean of each 2 x 2 pixels, of three channels.
fn halve<O: MapOps>(ops: &mut O, x: &O::Map) -> O::Map {
    ops.conv(x, &Kernel::new(vec![0.25; 12], 3, 2, 2, 3))
}

/// Undoes the normalisation: R, G, B on the scale 0..1.
fn colours_kernel() -> Kernel {
    let mut weights = vec![0.0; 9];
    (0..3).for_each(|c| weights[c * 4] = STD);
    Kernel { weights, bias: vec![MEAN; 3], side: 1, stride: 1, groups: 1 }
}

/// Undoes the normalisation and takes grey, red minus green, and yellow minus blue.
fn planes_kernel() -> Kernel {
    let planes = [LUMA, [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]];
    let weights = planes.as_flattened().iter().map(|w| w * STD).collect();
    let bias = planes.iter().map(|p| p.iter().sum::<f32>() * MEAN).collect();
    Kernel { weights, bias, side: 1, stride: 1, groups: 1 }
}

fn log_row<O: MapOps>(ops: &mut O, x: &O::Row, floor: f32) -> O::Row {
    let x = ops.row_affine(x, 1.0, floor);
    ops.row_log(&x)
}

fn log_mean<O: MapOps>(ops: &mut O, x: &O::Map, floor: f32) -> O::Row {
    let mean = ops.mean(x);
    log_row(ops, &mean, floor)
}
