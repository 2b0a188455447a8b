//! The fitted values of a kernel encoder, and how an image is embedded with them.

use burn::tensor::backend::Backend;
use nalgebra::DMatrix;

use super::measurements::{KERNELS, KernelUse, Measurements, measurements};
use super::{COMPONENT, CONTENT, EMBEDDING, MAX_ANSWERS};
use crate::gradient_free::REACH;
use crate::model::efficientnet::EfficientNet;
use crate::model::layers::unit;
use crate::model::measure::Codebook;
use crate::model::ops::{LayerOps, TensorOps};

/// Divides the logits before the softmax. The probabilities of a picture that shows several things, or nothing that is a class, are then
/// less extreme.
const TEMPERATURE: f32 = 1.3;
/// Weight of the classes in the content vector, relative to that of the regression.
pub const CLASSES: f32 = 1.25;
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
    /// Weight of the block in each kernel; see [`KernelUse`].
    pub shares: [f32; KERNELS],
}

impl FittedBlock {
    pub(super) fn components(&self) -> usize {
        self.directions.len() / self.mean.len().max(1)
    }
}

/// The fitted values that give an image a vector of length E = [`CONTENT`] in the space of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct ContentFit {
    /// The vector of each of the network's K classes, row-major `[K, E]`.
    pub classes: Vec<f32>,
    /// Mean, over the training images, of the classes' vectors weighted by their probabilities, `[E]`.
    pub mean: Vec<f32>,
    /// Weights from the kernel of the content to the vector of the image's text, row-major `[M, E]`.
    pub weights: Vec<f32>,
}

/// The fit of a kernel encoder: codebook, principal components, kernel centres, the weights of the answers, and the content.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderFit {
    /// The filters whose responses are the codes.
    pub codebook: Codebook,
    /// The fit of each block of measurements; see [`super::block_shapes`].
    pub blocks: Vec<FittedBlock>,
    /// Weights from the kernel of the answers to the answers, row-major `[M, Q]`.
    pub weights: Vec<f32>,
    /// The same from the kernel of the rated answer; `None` without a network. The sum of both is the answer.
    pub rated_weights: Option<Vec<f32>>,
    /// Number Q of answers.
    pub answers: usize,
    /// The content; `None` without a network.
    pub content: Option<ContentFit>,
}

impl EncoderFit {
    /// Embeds images: `pixel_values [N, 3, H, W]` -> `[N, D]`; `width_px` is W.
    ///
    /// Without a network the embedding holds the answers and the leading components. With one it holds the content and the answers.
    pub fn embed<B: Backend, O: LayerOps<B>>(
        &self,
        ops: &mut O,
        pixel_values: O::Tensor<4>,
        width_px: usize,
        network: Option<&EfficientNet<B>>,
    ) -> O::Tensor<2> {
        let Measurements { blocks, logits } = measurements(ops, pixel_values, width_px, &self.codebook, network);
        let components: Vec<O::Tensor<2>> =
            blocks.into_iter().zip(&self.blocks).map(|(rows, block)| components(ops, rows, block)).collect();
        let [of_rated, of_answers, of_content] = self.kernels(ops, &components);
        let mut answers = ops.matmul_constant(of_answers, &self.weights, self.answers);
        if let Some(weights) = &self.rated_weights {
            let of_rated = ops.matmul_constant(of_rated, weights, self.answers);
            answers = ops.add(answers, of_rated);
        }
        let (mut parts, mut length, end) = match (&self.content, logits) {
            (Some(content), Some(logits)) => {
                (vec![content.vectors(ops, logits, of_content)], CONTENT, CONTENT + MAX_ANSWERS)
            }
            _ => (Vec::new(), 0, EMBEDDING),
        };
        parts.push(answers.clone());
        length += self.answers;
        for ((rows, block), taken) in components.into_iter().zip(&self.blocks).zip(self.taken()) {
            if taken > 0 {
                let taken = taken.min(block.components());
                let leading = ops.slice(rows, 1, 0..taken);
                parts.push(ops.affine(leading, COMPONENT, 0.0));
                length += taken;
            }
        }
        if length < end {
            let missing = end - length;
            parts.push(ops.matmul_constant(answers, &vec![0.0; self.answers * missing], missing));
        }
        ops.concat(parts, 1)
    }

    /// Number of leading components of each block that the embedding holds.
    pub fn taken(&self) -> Vec<usize> {
        let each = if self.content.is_some() { 0 } else { (EMBEDDING - self.answers) / self.blocks.len().max(1) };
        self.blocks.iter().map(|block| each.min(block.components())).collect()
    }

    /// The kernels between N images, given by the components of each block, and the M centres: `[N, M]` each, in the order of
    /// [`KernelUse::ALL`]. They are the same as [`crate::gradient_free::gram`].
    pub(super) fn kernels<O: TensorOps>(&self, ops: &mut O, components: &[O::Tensor<2>]) -> [O::Tensor<2>; KERNELS] {
        let mut sums: [Option<O::Tensor<2>>; KERNELS] = [const { None }; KERNELS];
        for (rows, block) in components.iter().zip(&self.blocks) {
            let distance = distances(ops, rows.clone(), block);
            // Kernels of the same length share a block's part.
            let mut parts: Vec<(f64, O::Tensor<2>)> = Vec::new();
            for ((of, sum), share) in KernelUse::ALL.into_iter().zip(&mut sums).zip(block.shares) {
                if share <= 0.0 {
                    continue;
                }
                let near = match parts.iter().find(|(length, _)| *length == of.length()) {
                    Some((_, near)) => near.clone(),
                    None => {
                        let exponent = -1.0 / (of.length() * (block.components() as f64).sqrt());
                        let scaled = ops.affine(distance.clone(), exponent as f32, 0.0);
                        let near = ops.exp(scaled);
                        parts.push((of.length(), near.clone()));
                        near
                    }
                };
                let near = ops.affine(near, share, 0.0);
                *sum = Some(match sum.take() {
                    Some(sum) => ops.add(sum, near),
                    None => near,
                });
            }
        }
        // Without a network no block has a share in two of the kernels, and nothing reads them.
        sums.map(|sum| sum.unwrap_or_else(|| components[0].clone()))
    }
}

impl ContentFit {
    /// Returns the content vectors `[N, E]`.
    fn vectors<O: TensorOps>(&self, ops: &mut O, logits: O::Tensor<2>, kernel: O::Tensor<2>) -> O::Tensor<2> {
        let logits = ops.affine(logits, 1.0 / TEMPERATURE, 0.0);
        let probabilities = ops.softmax(logits, 1);
        let of_classes = ops.matmul_constant(probabilities, &self.classes, CONTENT);
        let mean = ops.row(&self.mean);
        let of_classes = ops.sub(of_classes, mean);
        let of_classes = unit(ops, of_classes);
        let regressed = ops.matmul_constant(kernel, &self.weights, CONTENT);
        let regressed = unit(ops, regressed);
        let of_classes = ops.affine(of_classes, CLASSES, 0.0);
        ops.add(of_classes, regressed)
    }
}

/// The probabilities of the classes that the content depends on: the softmax of each row of logits `[N, K]`, at the temperature of the
/// encoder.
pub fn class_probabilities(logits: &DMatrix<f64>) -> DMatrix<f64> {
    let mut probabilities = logits / f64::from(TEMPERATURE);
    for mut row in probabilities.row_iter_mut() {
        let largest = row.max();
        row.iter_mut().for_each(|v| *v = (*v - largest).exp());
        let sum = row.sum();
        row /= sum;
    }
    probabilities
}

/// Standardised measurements in the directions of their principal components, `[N, F] -> [N, K]`.
fn components<O: TensorOps>(ops: &mut O, rows: O::Tensor<2>, block: &FittedBlock) -> O::Tensor<2> {
    let shift: Vec<f32> = block.mean.iter().zip(&block.scale).map(|(m, s)| -m * s).collect();
    let standard = ops.column_affine(rows, &block.scale, &shift);
    let standard = ops.clip(standard, -REACH as f32, REACH as f32);
    ops.matmul_constant(standard, &block.directions, block.components())
}

/// The distances between images and a block's centres, `[N, K] -> [N, M]`.
fn distances<O: TensorOps>(ops: &mut O, rows: O::Tensor<2>, block: &FittedBlock) -> O::Tensor<2> {
    let k = block.components();
    let centres = block.centres.len() / k.max(1);
    let square = ops.mul(rows.clone(), rows.clone());
    let of_rows = ops.matmul_constant(square, &vec![1.0; k], 1);
    let mut transposed = vec![0.0; block.centres.len()];
    for (m, centre) in block.centres.chunks(k).enumerate() {
        centre.iter().enumerate().for_each(|(i, v)| transposed[i * centres + m] = -2.0 * v);
    }
    let of_centres: Vec<f32> = block.centres.chunks(k).map(|c| c.iter().map(|v| v * v).sum()).collect();
    let products = ops.matmul_constant(rows, &transposed, centres);
    let products = ops.column_affine(products, &vec![1.0; centres], &of_centres);
    let square = ops.add(products, of_rows);
    let square = ops.relu(square);
    ops.sqrt(square)
}
