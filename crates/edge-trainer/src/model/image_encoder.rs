//! The image encoder `small-kernel`. It measures an image, reduces the measurements to principal components, computes a kernel between
//! these components and those of some training images, and derives the answers from the kernel by ridge regression. It is fitted in
//! closed form ([`crate::gradient_free`]), without gradients, before text encoder and head are trained on its embeddings.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::EMBEDDING;
use super::measure::{BLOCKS, CODE_PATCH_PX, CodeLevel, Codebook, SCALES, measure};
use super::ops::TensorOps;
use super::values::weights;
use crate::gradient_free::{LENGTH, REACH};
use crate::onnx::{Dim, GraphBuilder};

/// Weight of each block of measurements (statistics, codes, spectrum) in the kernel.
pub const SHARES: [f32; BLOCKS] = [0.4, 0.3, 0.3];
/// Largest number of principal components of each block.
pub const COMPONENTS: [usize; BLOCKS] = [64, 128, 128];
/// Largest number of answers. Components fill the embedding behind the answers.
pub const MAX_ANSWERS: usize = 64;
/// Factor of the components in the embedding. The answers already hold what the components say about a score. The factor is small, so that
/// a head does not follow the noise of the components.
pub const COMPONENT: f32 = 0.1;
/// Number of weights of a filter.
const FILTER: usize = 3 * CODE_PATCH_PX * CODE_PATCH_PX;

/// The fit of one block of F measurements: K principal components, and the components of the M training images that are the kernel's
/// centres.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedBlock {
    /// Mean of each of the F measurements.
    pub mean: Vec<f32>,
    /// Factor of each measurement after its mean is subtracted.
    pub scale: Vec<f32>,
    /// Scaled directions of the principal components, row-major `[F, K]`.
    pub directions: Vec<f32>,
    /// Components of the M training images that are the kernel's centres, row-major `[M, K]`.
    pub centres: Vec<f32>,
}

impl FittedBlock {
    fn components(&self) -> usize {
        self.directions.len() / self.mean.len().max(1)
    }
}

/// The fit of the small image encoder: codebook, principal components, kernel centres and the weights of the answers.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderFit {
    /// The filters whose responses are the codes.
    pub codebook: Codebook,
    /// The fit of each block of measurements: statistics, codes, spectrum.
    pub blocks: [FittedBlock; BLOCKS],
    /// Weights from the kernel to the answers, row-major `[M, Q]`.
    pub weights: Vec<f32>,
    /// Number Q of answers.
    pub answers: usize,
}

impl EncoderFit {
    /// Embeds images: `pixel_values [N, 3, S, S]` -> `[N, D]`; `side_px` is S.
    pub fn embed<O: TensorOps>(&self, ops: &mut O, pixel_values: O::Tensor<4>, side_px: usize) -> O::Tensor<2> {
        let measured = measure(ops, pixel_values, side_px, &self.codebook);
        let components: Vec<O::Tensor<2>> =
            measured.into_iter().zip(&self.blocks).map(|(rows, block)| components(ops, rows, block)).collect();
        let kernel = self.kernel(ops, &components);
        let answers = ops.matmul_constant(kernel, &self.weights, self.answers);
        let mut parts = vec![answers.clone()];
        let mut length = self.answers;
        for ((rows, block), taken) in components.into_iter().zip(&self.blocks).zip(self.taken()) {
            if taken > 0 {
                let taken = taken.min(block.components());
                let leading = ops.slice(rows, 1, 0..taken);
                parts.push(ops.affine(leading, COMPONENT, 0.0));
                length += taken;
            }
        }
        if length < EMBEDDING {
            let missing = EMBEDDING - length;
            parts.push(ops.matmul_constant(answers, &vec![0.0; self.answers * missing], missing));
        }
        ops.concat(parts, 1)
    }

    /// Number of leading components of each block that the embedding holds.
    pub fn taken(&self) -> [usize; BLOCKS] {
        let each = (EMBEDDING - self.answers) / BLOCKS;
        std::array::from_fn(|i| each.min(self.blocks[i].components()))
    }

    /// The kernel between N images, given by the components of each block, and the M centres: `[N, M]`, the same as
    /// [`crate::gradient_free::gram`].
    fn kernel<O: TensorOps>(&self, ops: &mut O, components: &[O::Tensor<2>]) -> O::Tensor<2> {
        let mut sum: Option<O::Tensor<2>> = None;
        for ((rows, block), share) in components.iter().zip(&self.blocks).zip(SHARES) {
            let k = block.components();
            let centres = block.centres.len() / k.max(1);
            let square = ops.mul(rows.clone(), rows.clone());
            let of_rows = ops.matmul_constant(square, &vec![1.0; k], 1);
            let mut transposed = vec![0.0; block.centres.len()];
            for (m, centre) in block.centres.chunks(k).enumerate() {
                centre.iter().enumerate().for_each(|(i, v)| transposed[i * centres + m] = -2.0 * v);
            }
            let of_centres: Vec<f32> = block.centres.chunks(k).map(|c| c.iter().map(|v| v * v).sum()).collect();
            let products = ops.matmul_constant(rows.clone(), &transposed, centres);
            let products = ops.column_affine(products, &vec![1.0; centres], &of_centres);
            let square = ops.add(products, of_rows);
            let square = ops.relu(square);
            let distance = ops.sqrt(square);
            let exponent = ops.affine(distance, -1.0 / (LENGTH as f32 * (k as f32).sqrt()), 0.0);
            let near = ops.exp(exponent);
            let near = ops.affine(near, share, 0.0);
            sum = Some(match sum {
                Some(sum) => ops.add(sum, near),
                None => near,
            });
        }
        sum.unwrap_or_else(|| components[0].clone())
    }
}

/// Standardised measurements in the directions of their principal components, `[N, F] -> [N, K]`.
fn components<O: TensorOps>(ops: &mut O, rows: O::Tensor<2>, block: &FittedBlock) -> O::Tensor<2> {
    let shift: Vec<f32> = block.mean.iter().zip(&block.scale).map(|(m, s)| -m * s).collect();
    let standard = ops.column_affine(rows, &block.scale, &shift);
    let standard = ops.clip(standard, -REACH as f32, REACH as f32);
    ops.matmul_constant(standard, &block.directions, block.components())
}

/// A [`FittedBlock`] as parameters.
#[derive(Module, Debug)]
struct BlockWeights<B: Backend> {
    mean: Param<Tensor<B, 1>>,
    scale: Param<Tensor<B, 1>>,
    directions: Param<Tensor<B, 2>>,
    centres: Param<Tensor<B, 2>>,
}

/// `pixel_values [N, 3, S, S]` -> `image_embedding [N, D]`, for any S of at least [`super::MIN_SIZE_PX`]. It keeps an [`EncoderFit`]
/// as parameters, so that it is saved and moved between devices like every network.
#[derive(Module, Debug)]
pub struct ImageEncoder<B: Backend> {
    filters: Vec<Param<Tensor<B, 2>>>,
    shifts: Vec<Param<Tensor<B, 1>>>,
    blocks: Vec<BlockWeights<B>>,
    answers: Param<Tensor<B, 2>>,
}

impl<B: Backend> ImageEncoder<B> {
    /// An encoder without a fit; loaded weights bring their own shapes.
    pub fn unfitted(device: &B::Device) -> Self {
        let level = || CodeLevel { filters: vec![0.0; FILTER], shifts: vec![0.0] };
        let block = || FittedBlock { mean: vec![0.0], scale: vec![0.0], directions: vec![0.0], centres: vec![0.0] };
        let codebook = Codebook(std::array::from_fn(|_| level()));
        let blocks = std::array::from_fn(|_| block());
        Self::new(&EncoderFit { codebook, blocks, weights: vec![0.0], answers: 1 }, device)
    }

    /// An encoder with the values of `fit`.
    pub fn new(fit: &EncoderFit, device: &B::Device) -> Self {
        let row = |values: &[f32]| fixed(Tensor::from_data(values, device));
        let table = |values: &[f32], columns: usize| {
            let dims = [values.len() / columns.max(1), columns];
            fixed(Tensor::from_data(TensorData::new(values.to_vec(), dims), device))
        };
        let block = |block: &FittedBlock| BlockWeights {
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

    /// Returns the fitted values that the parameters hold.
    pub fn fit(&self) -> EncoderFit {
        let level = |i: usize| CodeLevel { filters: weights(&self.filters[i]), shifts: weights(&self.shifts[i]) };
        let block = |i: usize| {
            let block = &self.blocks[i];
            FittedBlock {
                mean: weights(&block.mean),
                scale: weights(&block.scale),
                directions: weights(&block.directions),
                centres: weights(&block.centres),
            }
        };
        EncoderFit {
            codebook: Codebook(std::array::from_fn::<_, SCALES, _>(level)),
            blocks: std::array::from_fn(block),
            weights: weights(&self.answers),
            answers: self.answers.dims()[1],
        }
    }

    /// `pixel_values [N, 3, S, S]` -> `[N, D]`; `side_px` is S.
    pub fn forward<O: TensorOps>(&self, ops: &mut O, pixel_values: O::Tensor<4>, side_px: usize) -> O::Tensor<2> {
        self.fit().embed(ops, pixel_values, side_px)
    }

    /// Writes the encoder to the graph, with an input of `side_px` x `side_px` pixels and an output.
    pub fn export(&self, g: &mut GraphBuilder, side_px: usize) {
        let side = Dim::Fixed(side_px);
        let input = g.input_f32("pixel_values", &[Dim::Batch, Dim::Fixed(3), side, side]);
        let embedding = self.forward(g, input, side_px);
        g.output_f32("image_embedding", &embedding, &[Dim::Batch, Dim::Fixed(EMBEDDING)]);
    }
}

/// A parameter that does not learn.
fn fixed<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Param<Tensor<B, D>> {
    Param::from_tensor(tensor).set_require_grad(false)
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use nalgebra::DMatrix;

    use super::*;
    use crate::gradient_free::gram;
    use crate::model::ops::Compute;
    use crate::model::values::values;

    fn wave(rows: usize, columns: usize, phase: f64) -> DMatrix<f64> {
        DMatrix::from_fn(rows, columns, |i, j| ((i * 7 + j * 3) as f64 * 0.61 + phase).sin())
    }

    fn row_major(matrix: &DMatrix<f64>) -> Vec<f32> {
        matrix.transpose().iter().map(|v| *v as f32).collect()
    }

    fn fit(centres: &[DMatrix<f64>]) -> EncoderFit {
        let block = |centres: &DMatrix<f64>| {
            let k = centres.ncols();
            let directions = DMatrix::<f64>::identity(k, k);
            FittedBlock {
                mean: vec![0.0; k],
                scale: vec![1.0; k],
                directions: row_major(&directions),
                centres: row_major(centres),
            }
        };
        let level = || CodeLevel { filters: vec![0.0; FILTER], shifts: vec![0.0] };
        let blocks: Vec<FittedBlock> = centres.iter().map(block).collect();
        EncoderFit {
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
