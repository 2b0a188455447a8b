//! Image encoders that are fitted without gradients. A kernel encoder measures an image, reduces the measurements to principal components,
//! computes a kernel between these components and those of some training images, and derives the answers from the kernel by ridge
//! regression. It is fitted in closed form ([`crate::gradient_free`]) before text encoder and head are trained on its embeddings.
//!
//! `small-kernel` measures pixels alone. With an EfficientNet that was trained on ImageNet, an encoder also measures the network's maps
//! and tells what the image shows: its embedding begins with a vector in the space of texts.

mod fit;
mod measurements;

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::EMBEDDING;
use super::efficientnet::EfficientNet;
use super::layers::fixed;
use super::measure::{CODE_PATCH_PX, CodeLevel, Codebook, SCALES};
use super::ops::LayerOps;
use super::values::weights;
use crate::onnx::{Dim, GraphBuilder};
pub use fit::{CLASSES, ContentFit, EncoderFit, FittedBlock, class_probabilities};
pub use measurements::{BlockShape, KERNELS, KernelUse, Measurements, VIEWS, block_shapes, measurements};

/// Largest number of answers. In the embedding of an encoder without a network, components fill the rest.
pub const MAX_ANSWERS: usize = 64;
/// Factor of the components in the embedding. The answers already hold what the components say about a score. The factor is small, so that
/// a head does not follow the noise of the components.
pub const COMPONENT: f32 = 0.1;
/// Length E of the content vectors, which begin the embedding of an encoder with a network.
pub const CONTENT: usize = 128;
/// Number of weights of a filter.
const FILTER: usize = 3 * CODE_PATCH_PX * CODE_PATCH_PX;

/// A [`FittedBlock`] as parameters.
#[derive(Module, Debug)]
struct BlockWeights<B: Backend> {
    mean: Param<Tensor<B, 1>>,
    scale: Param<Tensor<B, 1>>,
    directions: Param<Tensor<B, 2>>,
    centres: Param<Tensor<B, 2>>,
    shares: Param<Tensor<B, 1>>,
}

/// A [`ContentFit`] as parameters.
#[derive(Module, Debug)]
struct ContentWeights<B: Backend> {
    classes: Param<Tensor<B, 2>>,
    mean: Param<Tensor<B, 1>>,
    weights: Param<Tensor<B, 2>>,
}

/// `pixel_values [N, 3, H, W]` -> `image_embedding [N, D]`. It keeps an [`EncoderFit`] as parameters, so that it is saved and moved between
/// devices like every network.
#[derive(Module, Debug)]
pub struct KernelEncoder<B: Backend> {
    filters: Vec<Param<Tensor<B, 2>>>,
    shifts: Vec<Param<Tensor<B, 1>>>,
    blocks: Vec<BlockWeights<B>>,
    answers: Param<Tensor<B, 2>>,
    rated: Option<Param<Tensor<B, 2>>>,
    content: Option<ContentWeights<B>>,
    network: Option<EfficientNet<B>>,
}

impl<B: Backend> KernelEncoder<B> {
    /// An encoder without a fit; loaded weights bring their own shapes.
    pub fn unfitted(network: Option<EfficientNet<B>>, device: &B::Device) -> Self {
        let level = || CodeLevel { filters: vec![0.0; FILTER], shifts: vec![0.0] };
        let block = |shape: BlockShape| {
            let one = || vec![0.0];
            FittedBlock { mean: one(), scale: one(), directions: one(), centres: one(), shares: shape.shares }
        };
        let codebook = Codebook(std::array::from_fn(|_| level()));
        let blocks = block_shapes(network.is_some()).into_iter().map(block).collect();
        let content = network.is_some().then(|| ContentFit {
            classes: vec![0.0; CONTENT],
            mean: vec![0.0; CONTENT],
            weights: vec![0.0; CONTENT],
        });
        let rated_weights = network.is_some().then(|| vec![0.0]);
        Self::new(
            &EncoderFit { codebook, blocks, weights: vec![0.0], rated_weights, answers: 1, content },
            network,
            device,
        )
    }

    /// An encoder with the values of `fit`.
    fn new(fit: &EncoderFit, network: Option<EfficientNet<B>>, device: &B::Device) -> Self {
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
            shares: row(&block.shares),
        };
        let content = |content: &ContentFit| ContentWeights {
            classes: table(&content.classes, CONTENT),
            mean: row(&content.mean),
            weights: table(&content.weights, CONTENT),
        };
        Self {
            filters: fit.codebook.0.iter().map(|level| table(&level.filters, FILTER)).collect(),
            shifts: fit.codebook.0.iter().map(|level| row(&level.shifts)).collect(),
            blocks: fit.blocks.iter().map(block).collect(),
            answers: table(&fit.weights, fit.answers),
            rated: fit.rated_weights.as_ref().map(|weights| table(weights, fit.answers)),
            content: fit.content.as_ref().map(content),
            network,
        }
    }

    /// The same network with the values of `fit`.
    pub fn with_fit(self, fit: &EncoderFit, device: &B::Device) -> Self {
        Self::new(fit, self.network, device)
    }

    /// The network; `None` for an encoder that measures pixels alone.
    pub fn network(&self) -> Option<&EfficientNet<B>> {
        self.network.as_ref()
    }

    /// Returns the fitted values that the parameters hold.
    pub fn fit(&self) -> EncoderFit {
        let level = |i: usize| CodeLevel { filters: weights(&self.filters[i]), shifts: weights(&self.shifts[i]) };
        let block = |block: &BlockWeights<B>| {
            let shares = weights(&block.shares);
            FittedBlock {
                mean: weights(&block.mean),
                scale: weights(&block.scale),
                directions: weights(&block.directions),
                centres: weights(&block.centres),
                shares: std::array::from_fn(|i| shares[i]),
            }
        };
        let content = |content: &ContentWeights<B>| ContentFit {
            classes: weights(&content.classes),
            mean: weights(&content.mean),
            weights: weights(&content.weights),
        };
        EncoderFit {
            codebook: Codebook(std::array::from_fn::<_, SCALES, _>(level)),
            blocks: self.blocks.iter().map(block).collect(),
            weights: weights(&self.answers),
            rated_weights: self.rated.as_ref().map(weights),
            answers: self.answers.dims()[1],
            content: self.content.as_ref().map(content),
        }
    }

    /// `pixel_values [N, 3, H, W]` -> `[N, D]`; `width_px` is W.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, pixel_values: O::Tensor<4>, width_px: usize) -> O::Tensor<2> {
        self.fit().embed(ops, pixel_values, width_px, self.network.as_ref())
    }

    /// Length D of the embeddings.
    fn dim(&self) -> usize {
        embedding_length(self.network.is_some())
    }

    /// Writes the encoder to the graph, with an input of `size_px` (width and height) and an output.
    pub fn export(&self, g: &mut GraphBuilder, (width_px, height_px): (usize, usize)) {
        let dims = [Dim::Batch, Dim::Fixed(3), Dim::Fixed(height_px), Dim::Fixed(width_px)];
        let input = g.input_f32("pixel_values", &dims);
        let embedding = self.forward(g, input, width_px);
        g.output_f32("image_embedding", &embedding, &[Dim::Batch, Dim::Fixed(self.dim())]);
    }
}

/// Length D of the embeddings of an encoder with or without a network.
pub fn embedding_length(with_network: bool) -> usize {
    if with_network { CONTENT + MAX_ANSWERS } else { EMBEDDING }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use nalgebra::DMatrix;

    use super::*;
    use crate::gradient_free::gram;
    use edge_model::backend::Input;
    use edge_model::image_input::View;

    use crate::model::efficientnet::EfficientNetShape;
    use crate::model::ops::Compute;
    use crate::model::reference::run;
    use crate::model::values::values;

    const SHARES: [f32; 3] = [0.4, 0.3, 0.3];

    fn wave(rows: usize, columns: usize, phase: f64) -> DMatrix<f64> {
        DMatrix::from_fn(rows, columns, |i, j| ((i * 7 + j * 3) as f64 * 0.61 + phase).sin())
    }

    fn row_major(matrix: &DMatrix<f64>) -> Vec<f32> {
        matrix.transpose().iter().map(|v| *v as f32).collect()
    }

    fn fit(centres: &[DMatrix<f64>]) -> EncoderFit {
        let block = |(centres, share): (&DMatrix<f64>, f32)| {
            let k = centres.ncols();
            let directions = DMatrix::<f64>::identity(k, k);
            FittedBlock {
                mean: vec![0.0; k],
                scale: vec![1.0; k],
                directions: row_major(&directions),
                centres: row_major(centres),
                shares: [0.0, share, 0.0],
            }
        };
        let level = || CodeLevel { filters: vec![0.0; FILTER], shifts: vec![0.0] };
        let blocks = centres.iter().zip(SHARES).map(block).collect();
        EncoderFit {
            codebook: Codebook(std::array::from_fn(|_| level())),
            blocks,
            weights: vec![0.5; centres[0].nrows()],
            rated_weights: None,
            answers: 1,
            content: None,
        }
    }

    #[test]
    fn the_encoders_kernel_is_the_one_that_the_regression_was_solved_with() {
        let centres: Vec<_> = [3, 4, 5].map(|k| wave(6, k, k as f64)).into();
        let rows: Vec<_> = [3, 4, 5].map(|k| wave(4, k, 0.3 * k as f64)).into();
        let expected = gram(&rows, &centres, &SHARES.map(f64::from), KernelUse::Answers.length());
        let device = Default::default();
        let components: Vec<Tensor<Flex, 2>> = rows
            .iter()
            .map(|rows| Tensor::from_data(TensorData::new(row_major(rows), [4, rows.ncols()]), &device))
            .collect();
        let [_, kernel, _] = fit(&centres).kernels(&mut Compute::<Flex>::new(device), &components).map(values);
        for (found, expected) in kernel.iter().zip(row_major(&expected)) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn a_fit_survives_as_weights() {
        let fit = fit(&[wave(6, 3, 0.0), wave(6, 4, 1.0), wave(6, 5, 2.0)]);
        let encoder = KernelEncoder::<Flex>::new(&fit, None, &Default::default());
        assert_eq!(encoder.fit(), fit);
        // Loaded weights bring their shapes.
        let loaded = KernelEncoder::<Flex>::unfitted(None, &Default::default()).load_record(encoder.into_record());
        assert_eq!(loaded.fit(), fit);
    }

    /// An encoder with a narrow network of five classes, whose fit has two centres and two answers.
    fn with_network(device: &<Flex as burn::tensor::backend::BackendTypes>::Device) -> KernelEncoder<Flex> {
        let shape = EfficientNetShape::narrow_lite(8, [8, 8, 8, 8, 16, 24, 32], 64, 5);
        let network = EfficientNet::new(&shape, device);
        let level = || CodeLevel {
            filters: (0..2 * FILTER).map(|i| ((i * 7) as f32).sin() * 0.1).collect(),
            shifts: vec![0.1, -0.1],
        };
        let codebook = Codebook(std::array::from_fn(|_| level()));
        let pixels = Tensor::zeros([1, 3, HEIGHT, WIDTH], device);
        let measured = measurements(&mut Compute::new(*device), pixels, WIDTH, &codebook, Some(&network));
        let numbers = |count: usize, seed: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * 37 + seed * 11) as f32 * 0.7).sin() * 0.2).collect()
        };
        let block = |(at, (rows, shape)): (usize, (&Tensor<Flex, 2>, BlockShape))| {
            let length = rows.dims()[1];
            FittedBlock {
                mean: numbers(length, at),
                scale: vec![0.5; length],
                directions: numbers(length * 3, at + 1),
                centres: numbers(2 * 3, at + 2),
                shares: shape.shares,
            }
        };
        let blocks = measured.blocks.iter().zip(block_shapes(true)).enumerate().map(block).collect();
        let content = ContentFit {
            classes: numbers(5 * CONTENT, 3),
            mean: numbers(CONTENT, 4),
            weights: numbers(2 * CONTENT, 5),
        };
        let rated_weights = Some(numbers(4, 7));
        let fit =
            EncoderFit { codebook, blocks, weights: numbers(4, 6), rated_weights, answers: 2, content: Some(content) };
        KernelEncoder::unfitted(Some(network), device).with_fit(&fit, device)
    }

    const WIDTH: usize = 384;
    const HEIGHT: usize = 288 + 384 + 192;

    fn pixels() -> Vec<f32> {
        (0..3 * HEIGHT * WIDTH).map(|i| ((i * 31 % 977) as f32 * 0.013).sin()).collect()
    }

    #[test]
    fn an_encoder_with_a_network_computes_the_same_in_its_graph() {
        let device = Default::default();
        let encoder = with_network(&device);
        let input = Tensor::from_data(TensorData::new(pixels(), [1, 3, HEIGHT, WIDTH]), &device);
        let expected = values(encoder.forward(&mut Compute::new(device), input, WIDTH));
        assert_eq!(expected.len(), embedding_length(true));
        // Content, two answers, and zeros for those that the fit does not have.
        assert!(expected[..CONTENT + 2].iter().all(|v| *v != 0.0) && expected[CONTENT + 2..].iter().all(|v| *v == 0.0));
        let mut g = GraphBuilder::new("image_encoder");
        encoder.export(&mut g, (WIDTH, HEIGHT));
        let input = ndarray::ArrayD::from_shape_vec(vec![1, 3, HEIGHT, WIDTH], pixels()).unwrap();
        let found = run(&g.finish().unwrap(), vec![Input::F32(input)]).remove(0);
        for (expected, found) in expected.iter().zip(&found) {
            assert!((expected - found).abs() < 1e-4, "{found} instead of {expected}");
        }
    }

    #[test]
    fn every_view_reaches_the_answers_and_only_the_whole_picture_the_content() {
        let device = Default::default();
        let encoder = with_network(&device);
        let embed = |pixels: Vec<f32>| {
            let input = Tensor::from_data(TensorData::new(pixels, [1, 3, HEIGHT, WIDTH]), &device);
            values(encoder.forward(&mut Compute::new(device), input, WIDTH))
        };
        let before = embed(pixels());
        let mut top = 0;
        for view in VIEWS {
            let side = view.size_px() as usize;
            let mut changed = pixels();
            for (i, pixel) in changed.iter_mut().enumerate() {
                let (row, column) = (i / WIDTH % HEIGHT, i % WIDTH);
                if (top..top + side).contains(&row) && column < side {
                    *pixel = if (row + column) % 2 == 0 { 0.9 } else { -0.9 };
                } else if (top..top + side).contains(&row) {
                    // The encoder must ignore the pixels to the right of a narrow view.
                    *pixel = 0.5;
                }
            }
            let after = embed(changed);
            let moved = |range: std::ops::Range<usize>| {
                before[range.clone()].iter().zip(&after[range]).any(|(a, b)| (a - b).abs() > 1e-5)
            };
            assert!(moved(CONTENT..CONTENT + 2), "{view:?}");
            assert_eq!(moved(0..CONTENT), matches!(view, View::Whole { .. }), "{view:?}");
            top += side;
        }
        let mut beside = pixels();
        for (i, pixel) in beside.iter_mut().enumerate().filter(|(i, _)| i / WIDTH % HEIGHT < 288 && i % WIDTH >= 288) {
            *pixel += i as f32 % 3.0;
        }
        assert_eq!(embed(beside), before);
    }
}
