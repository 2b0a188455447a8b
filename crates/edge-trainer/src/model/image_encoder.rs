//! The image encoder `small-kernel`: measurements, their principal components, a kernel between those and the ones of some
//! training pictures, and what ridge regression answers from it. Nothing in it follows a gradient: it is fitted in closed form
//! ([`crate::gradient_free`]) before text encoder and head are trained on its embeddings.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::EMBEDDING;
use super::layers::weights;
use super::maps::{Compute, MapOps};
use super::measure::{BLOCKS, CODE_PATCH_PX, CodeLevel, Codebook, SCALES, measure};
use crate::gradient_free::{LENGTH, REACH};
use crate::onnx::{Dim, GraphBuilder};

/// How much each block of measurements (statistics, codes, spectrum) counts in the kernel.
pub const SHARES: [f32; BLOCKS] = [0.4, 0.3, 0.3];
/// Principal components of each block, at most.
pub const COMPONENTS: [usize; BLOCKS] = [64, 128, 128];
/// Answers at most: the rest of the embedding are components.
pub const MAX_ANSWERS: usize = 64;
/// What components are multiplied by in the embedding: whatever they say of a score is in the answers already, and a head should
/// not follow their noise.
pub const COMPONENT: f32 = 0.1;
/// Numbers of a filter.
const FILTER: usize = 3 * CODE_PATCH_PX * CODE_PATCH_PX;

/// One block of measurements on its way to the kernel, in plain numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Mean of each of F measurements.
    pub mean: Vec<f32>,
    /// What each is multiplied by then.
    pub scale: Vec<f32>,
    /// Row-major `[F, K]`.
    pub directions: Vec<f32>,
    /// Row-major `[M, K]`: the components of the kernel's centres.
    pub centres: Vec<f32>,
}

impl Block {
    fn components(&self) -> usize {
        self.directions.len() / self.mean.len().max(1)
    }
}

/// Everything that is fitted, in plain numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The filters.
    pub codebook: Codebook,
    /// Statistics, codes, spectrum.
    pub blocks: [Block; BLOCKS],
    /// Row-major `[M, Q]`: from the kernel to the answers.
    pub weights: Vec<f32>,
    /// Q.
    pub answers: usize,
}

impl Fit {
    /// Measures pictures `[N, 3, S, S]` -> `[N, D]`.
    pub fn embed<O: MapOps>(&self, ops: &mut O, pixel_values: &O::Map, side_px: usize) -> O::Row {
        let measured = measure(ops, pixel_values, side_px, &self.codebook);
        let components: Vec<O::Row> =
            measured.iter().zip(&self.blocks).map(|(rows, block)| components(ops, rows, block)).collect();
        let kernel = self.kernel(ops, &components);
        let answers = ops.row_matmul(&kernel, &self.weights, self.answers);
        let mut parts = vec![answers];
        let mut length = self.answers;
        for ((rows, block), taken) in components.iter().zip(&self.blocks).zip(self.taken()) {
            if taken > 0 {
                let taken = taken.min(block.components());
                let leading = ops.columns(rows, 0, taken);
                parts.push(ops.row_affine(&leading, COMPONENT, 0.0));
                length += taken;
            }
        }
        if length < EMBEDDING {
            let missing = EMBEDDING - length;
            parts.push(ops.row_matmul(&parts[0].clone(), &vec![0.0; self.answers * missing], missing));
        }
        ops.row_stack(&parts)
    }

    /// Leading components of each block that stand in the embedding beside the answers.
    pub fn taken(&self) -> [usize; BLOCKS] {
        let each = (EMBEDDING - self.answers) / BLOCKS;
        std::array::from_fn(|i| each.min(self.blocks[i].components()))
    }

    /// `[N, M]`: [`crate::gradient_free::gram`] as a graph has it.
    fn kernel<O: MapOps>(&self, ops: &mut O, components: &[O::Row]) -> O::Row {
        let mut sum: Option<O::Row> = None;
        for ((rows, block), share) in components.iter().zip(&self.blocks).zip(SHARES) {
            let k = block.components();
            let centres = block.centres.len() / k.max(1);
            let square = ops.row_mul(rows, rows);
            let of_rows = ops.row_matmul(&square, &vec![1.0; k], 1);
            let mut transposed = vec![0.0; block.centres.len()];
            for (m, centre) in block.centres.chunks(k).enumerate() {
                centre.iter().enumerate().for_each(|(i, v)| transposed[i * centres + m] = -2.0 * v);
            }
            let of_centres: Vec<f32> = block.centres.chunks(k).map(|c| c.iter().map(|v| v * v).sum()).collect();
            let products = ops.row_matmul(rows, &transposed, centres);
            let products = ops.column_affine(&products, &vec![1.0; centres], &of_centres);
            let square = ops.row_add(&products, &of_rows);
            let square = ops.row_relu(&square);
            let distance = ops.row_sqrt(&square);
            let exponent = ops.row_affine(&distance, -1.0 / (LENGTH as f32 * (k as f32).sqrt()), 0.0);
            let near = ops.row_exp(&exponent);
            let near = ops.row_affine(&near, share, 0.0);
            sum = Some(match sum {
                Some(sum) => ops.row_add(&sum, &near),
                None => near,
            });
        }
        sum.unwrap_or_else(|| components[0].clone())
    }
}

/// Standardised measurements in the directions of their principal components, `[N, F] -> [N, K]`.
fn components<O: MapOps>(ops: &mut O, rows: &O::Row, block: &Block) -> O::Row {
    let shift: Vec<f32> = block.mean.iter().zip(&block.scale).map(|(m, s)| -m * s).collect();
    let standard = ops.column_affine(rows, &block.scale, &shift);
    let standard = ops.row_clip(&standard, -REACH as f32, REACH as f32);
    ops.row_matmul(&standard, &block.directions, block.components())
}

/// A [`Block`] as weights.
#[derive(Module, Debug)]
struct BlockWeights<B: Backend> {
    mean: Param<Tensor<B, 1>>,
    scale: Param<Tensor<B, 1>>,
    directions: Param<Tensor<B, 2>>,
    centres: Param<Tensor<B, 2>>,
}

/// `pixel_values [N, 3, S, S]` -> `image_embedding [N, D]`, for any S of at least [`super::MIN_SIZE_PX`]: a [`Fit`] as weights, so
/// that it is kept and carried like every network.
#[derive(Module, Debug)]
pub struct ImageEncoder<B: Backend> {
    filters: Vec<Param<Tensor<B, 2>>>,
    shifts: Vec<Param<Tensor<B, 1>>>,
    blocks: Vec<BlockWeights<B>>,
    answers: Param<Tensor<B, 2>>,
}

impl<B: Backend> ImageEncoder<B> {
    /// One that is not fitted yet; weights that are loaded onto it bring their own shapes.
    pub fn unfitted(device: &B::Device) -> Self {
        let level = || CodeLevel { filters: vec![0.0; FILTER], shifts: vec![0.0] };
        let block = || Block { mean: vec![0.0], scale: vec![0.0], directions: vec![0.0], centres: vec![0.0] };
        let codebook = Codebook(std::array::from_fn(|_| level()));
        let blocks = std::array::from_fn(|_| block());
        Self::new(&Fit { codebook, blocks, weights: vec![0.0], answers: 1 }, device)
    }

    /// The encoder of a fit.
    pub fn new(fit: &Fit, device: &B::Device) -> Self {
        let row = |values: &[f32]| fixed(Tensor::from_data(values, device));
        let table = |values: &[f32], columns: usize| {
            let dims = [values.len() / columns.max(1), columns];
            fixed(Tensor::from_data(TensorData::new(values.to_vec(), dims), device))
        };
        let block = |block: &Block| BlockWeights {
            mean: row(&block.mean),
            scale: row(&block.scale),
            directions: table(&block.directions, block.components()),
            centres: table(&block.centres, block.components()),
        };
        Self {
            filters: fit.codebook.0.iter().map(|level| table(&level.filters, FILTER)).collect(),
            shifts: fit.codebook.0.iter().map(|level| row(&level.shifts)).collect(),
            blocks: fit.blocks.iter().map(block).collect(),
            answers: table(&fit.weights, fit.answers),
        }
    }

    /// The numbers.
    pub fn fit(&self) -> Fit {
        let level = |i: usize| CodeLevel { filters: weights(&self.filters[i]), shifts: weights(&self.shifts[i]) };
        let block = |i: usize| {
            let block = &self.blocks[i];
            Block {
                mean: weights(&block.mean),
                scale: weights(&block.scale),
                directions: weights(&block.directions),
                centres: weights(&block.centres),
            }
        };
        Fit {
            codebook: Codebook(std::array::from_fn::<_, SCALES, _>(level)),
            blocks: std::array::from_fn(block),
            weights: weights(&self.answers),
            answers: self.answers.dims()[1],
        }
    }

    /// `pixel_values [N, 3, S, S]` -> `[N, D]`.
    pub fn forward(&self, pixel_values: &Tensor<B, 4>) -> Tensor<B, 2> {
        let mut ops = Compute::<B>::new(pixel_values.device());
        self.fit().embed(&mut ops, pixel_values, pixel_values.dims()[2])
    }

    /// Writes the whole encoder for inputs of that side.
    pub fn export(&self, g: &mut GraphBuilder, side_px: usize) {
        let side = Dim::Fixed(side_px);
        let input = g.input_f32("pixel_values", &[Dim::Batch, Dim::Fixed(3), side, side]);
        let embedding = self.fit().embed(g, &input, side_px);
        g.output_f32("image_embedding", &embedding, &[Dim::Batch, Dim::Fixed(EMBEDDING)]);
    }
}

fn fixed<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Param<Tensor<B, D>> {
    Param::from_tensor(tensor).set_require_grad(false)
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use nalgebra::DMatrix;

    use super::*;
    use crate::gradient_free::gram;
    use crate::model::values;

    fn wave(rows: usize, columns: usize, phase: f64) -> DMatrix<f64> {
        DMatrix::from_fn(rows, columns, |i, j| ((i * 7 + j * 3) as f64 * 0.61 + phase).sin())
    }

    fn row_major(matrix: &DMatrix<f64>) -> Vec<f32> {
        matrix.transpose().iter().map(|v| *v as f32).collect()
    }

    fn fit(centres: &[DMatrix<f64>]) -> Fit {
        let block = |centres: &DMatrix<f64>| {
            let k = centres.ncols();
            let directions = DMatrix::<f64>::identity(k, k);
            Block {
                mean: vec![0.0; k],
                scale: vec![1.0; k],
                directions: row_major(&directions),
                centres: row_major(centres),
            }
        };
        let level = || CodeLevel { filters: vec![0.0; FILTER], shifts: vec![0.0] };
        let blocks: Vec<Block> = centres.iter().map(block).collect();
        Fit {
            codebook: Codebook(std::array::from_fn(|_| level())),
            blocks: blocks.try_into().unwrap(),
            weights: vec![0.5; centres[0].nrows()],
            answers: 1,
        }
    }

    #[test]
    fn the_encoders_kernel_is_the_one_that_the_regression_was_solved_with() {
        let centres: Vec<_> = [3, 4, 5].map(|k| wave(6, k, k as f64)).into();
        let rows: Vec<_> = [3, 4, 5].map(|k| wave(4, k, 0.3 * k as f64)).into();
        let expected = gram(&rows, &centres, &SHARES.map(f64::from));
        let device = Default::default();
        let components: Vec<Tensor<Flex, 2>> = rows
            .iter()
            .map(|rows| Tensor::from_data(TensorData::new(row_major(rows), [4, rows.ncols()]), &device))
            .collect();
        let kernel = values(fit(&centres).kernel(&mut Compute::<Flex>::new(device), &components));
        for (found, expected) in kernel.iter().zip(row_major(&expected)) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn a_fit_survives_as_weights() {
        let fit = fit(&[wave(6, 3, 0.0), wave(6, 4, 1.0), wave(6, 5, 2.0)]);
        let encoder = ImageEncoder::<Flex>::new(&fit, &Default::default());
        assert_eq!(encoder.fit(), fit);
        // Loaded weights bring their shapes.
        let loaded = ImageEncoder::<Flex>::unfitted(&Default::default()).load_record(encoder.into_record());
        assert_eq!(loaded.fit(), fit);
    }
}
