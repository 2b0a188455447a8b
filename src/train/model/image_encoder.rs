//! The image encoder `small-cnn`: fixed measurements, learned convolutions over colours and MSCN coefficients, and the two
//! joined into the image embedding.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};

use super::conv::{ResidualBlock, StandardConv};
use super::layers::{export_linear, weights};
use super::maps::{Compute, mean_of_maps};
use super::statistics::{CONV_CHANNELS, Prepared, STATISTICS, prepare};
use super::{EMBEDDING, TOKEN_LENGTH};
use crate::image_input::InputRule;
use crate::train::device::carry;
use crate::train::onnx::{Dim, GraphBuilder, Value};

/// The image embedding's tokens that come from the fixed statistics; the others come from the convolutions.
const STATISTICS_TOKENS: usize = 3;
/// A standardised statistic counts no further than this: pictures unlike any in the training data stay within reach.
const REACH: f32 = 4.0;
/// Added to a channel's variance before its logarithm is taken.
const VARIANCE_FLOOR: f32 = 1e-3;

/// Mean and deviation of each statistic over the training images.
#[derive(Debug, Clone)]
pub struct Standardisation {
    /// One per statistic.
    pub mean: Vec<f32>,
    /// One per statistic, above zero.
    pub deviation: Vec<f32>,
}

/// Images after the fixed part: what is differentiated starts here.
#[derive(Debug, Clone)]
pub struct PreparedImages<B: Backend> {
    conv_input: Tensor<B, 4>,
    /// `[N, STATISTICS]`, not standardised.
    pub statistics: Tensor<B, 2>,
}

impl<B: Backend> PreparedImages<B> {
    /// Measures `pixel_values [N, 3, S, S]`, normalised by `rule`.
    pub fn new(pixel_values: &Tensor<B, 4>, rule: &InputRule) -> Self {
        let mut ops = Compute::<B>::new(pixel_values.device());
        let Prepared { conv_input, statistics } = prepare(&mut ops, pixel_values, rule);
        Self { conv_input, statistics }
    }

    /// The images of all parts, one after the other. All parts have one size.
    pub fn cat(parts: Vec<Self>) -> Self {
        let (conv_inputs, statistics) = parts.into_iter().map(|p| (p.conv_input, p.statistics)).unzip();
        Self { conv_input: Tensor::cat(conv_inputs, 0), statistics: Tensor::cat(statistics, 0) }
    }

    /// The same images on another backend.
    pub fn carry<T: Backend>(self, device: &T::Device) -> PreparedImages<T> {
        PreparedImages { conv_input: carry(self.conv_input, device), statistics: carry(self.statistics, device) }
    }

    /// The same images for a backend that differentiates.
    pub fn lift<A: AutodiffBackend<InnerBackend = B>>(self) -> PreparedImages<A> {
        PreparedImages {
            conv_input: Tensor::from_inner(self.conv_input),
            statistics: Tensor::from_inner(self.statistics),
        }
    }
}

/// `pixel_values [N, 3, S, S]` -> `image_embedding [N, D]`, for any S of at least [`super::MIN_SIZE_PX`].
#[derive(Module, Debug)]
pub struct ImageEncoder<B: Backend> {
    /// Multiplied to the statistics; never learned.
    statistics_scale: Param<Tensor<B, 1>>,
    /// Added after that; never learned.
    statistics_shift: Param<Tensor<B, 1>>,
    statistics_hidden: Linear<B>,
    statistics_tokens: Linear<B>,
    stem: StandardConv<B>,
    downs: Vec<StandardConv<B>>,
    blocks: Vec<ResidualBlock<B>>,
    conv_tokens: Linear<B>,
    dropout: Dropout,
}

impl<B: Backend> ImageEncoder<B> {
    /// A network whose stages have these widths, the first one being the stem's.
    pub fn new(widths: &[usize], dropout: f64, device: &B::Device) -> Self {
        let stem_width = widths.first().copied().unwrap_or(32);
        let pairs = || widths.windows(2).map(|w| [w[0], w[1]]);
        let pooled: usize = widths.iter().map(|w| 2 * w).sum();
        let hidden = 256;
        let conv_length = EMBEDDING - STATISTICS_TOKENS * TOKEN_LENGTH;
        Self {
            statistics_scale: Param::from_tensor(Tensor::ones([STATISTICS], device)).set_require_grad(false),
            statistics_shift: Param::from_tensor(Tensor::zeros([STATISTICS], device)).set_require_grad(false),
            statistics_hidden: LinearConfig::new(STATISTICS, hidden).init(device),
            statistics_tokens: LinearConfig::new(hidden, STATISTICS_TOKENS * TOKEN_LENGTH).init(device),
            stem: StandardConv::new([CONV_CHANNELS, stem_width], 8, 4, 0, device),
            downs: pairs().map(|channels| StandardConv::new(channels, 2, 2, 0, device)).collect(),
            blocks: pairs().map(|[_, width]| ResidualBlock::new(width, device)).collect(),
            conv_tokens: LinearConfig::new(pooled, conv_length).init(device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// Fixes how the statistics are standardised.
    pub fn standardise(&mut self, by: &Standardisation) {
        let device = self.statistics_scale.val().device();
        let scale: Vec<f32> = by.deviation.iter().map(|d| 1.0 / d).collect();
        let shift: Vec<f32> = by.mean.iter().zip(&scale).map(|(m, s)| -m * s).collect();
        let fixed = |v: Vec<f32>| {
            let data = TensorData::new(v, [STATISTICS]);
            Param::from_tensor(Tensor::from_data(data, &device)).set_require_grad(false)
        };
        self.statistics_scale = fixed(scale);
        self.statistics_shift = fixed(shift);
    }

    /// `pixel_values [N, 3, S, S]`, normalised by `rule`, -> `[N, D]`.
    pub fn forward(&self, pixel_values: &Tensor<B, 4>, rule: &InputRule) -> Tensor<B, 2> {
        self.forward_prepared(PreparedImages::new(pixel_values, rule))
    }

    /// The learned part -> `[N, D]`.
    pub fn forward_prepared(&self, images: PreparedImages<B>) -> Tensor<B, 2> {
        let scale = self.statistics_scale.val().unsqueeze::<2>();
        let shift = self.statistics_shift.val().unsqueeze::<2>();
        let measured = (images.statistics * scale + shift).clamp(-REACH, REACH);
        let measured = relu(self.statistics_hidden.forward(self.dropout.forward(measured)));
        let measured = self.statistics_tokens.forward(self.dropout.forward(measured));

        let mut x = self.stem.forward(images.conv_input);
        let mut pooled = pool(relu(x.clone()));
        for (down, block) in self.downs.iter().zip(&self.blocks) {
            x = block.forward(down.forward(relu(x)));
            pooled.extend(pool(relu(x.clone())));
        }
        let pooled = self.dropout.forward(Tensor::cat(pooled, 1));
        Tensor::cat(vec![self.conv_tokens.forward(pooled), measured], 1)
    }

    /// Writes the whole encoder for inputs under `rule`.
    pub fn export(&self, g: &mut GraphBuilder, rule: &InputRule) {
        let side = Dim::Fixed(rule.size_px as usize);
        let input = g.input_f32("pixel_values", &[Dim::Batch, Dim::Fixed(3), side, side]);
        let Prepared { conv_input, statistics } = prepare(g, &input, rule);

        let scale = g.constant(&weights(&self.statistics_scale), &[STATISTICS]);
        let shift = g.constant(&weights(&self.statistics_shift), &[STATISTICS]);
        let measured = g.mul(&statistics, &scale);
        let measured = g.add(&measured, &shift);
        let measured = g.clip(&measured, -REACH, REACH);
        let measured = export_linear(&self.statistics_hidden, g, &measured);
        let measured = g.relu(&measured);
        let measured = export_linear(&self.statistics_tokens, g, &measured);

        let x = self.stem.export(g, &conv_input);
        let mut x = g.relu(&x);
        let mut pooled = export_pool(g, &x);
        for (down, block) in self.downs.iter().zip(&self.blocks) {
            x = down.export(g, &x);
            x = block.export(g, &x);
            x = g.relu(&x);
            pooled.extend(export_pool(g, &x));
        }
        let pooled = g.concat(&pooled.iter().collect::<Vec<_>>(), 1);
        let learned = export_linear(&self.conv_tokens, g, &pooled);
        let embedding = g.concat(&[&learned, &measured], 1);
        g.output_f32("image_embedding", &embedding, &[Dim::Batch, Dim::Fixed(EMBEDDING)]);
    }
}

/// Mean and logarithm of the deviation of each channel: `[N, C, H, W]` -> twice `[N, C]`.
fn pool<B: Backend>(x: Tensor<B, 4>) -> Vec<Tensor<B, 2>> {
    let mean = mean_of_maps(x.clone());
    let mean_square = mean_of_maps(x.clone() * x);
    let variance = relu(mean_square - mean.clone() * mean.clone());
    vec![mean, (variance + VARIANCE_FLOOR).log() * 0.5]
}

fn export_pool(g: &mut GraphBuilder, x: &Value) -> Vec<Value> {
    let mean = g.mean_of_maps(x);
    let square = g.mul(x, x);
    let mean_square = g.mean_of_maps(&square);
    let square_mean = g.mul(&mean, &mean);
    let variance = g.sub(&mean_square, &square_mean);
    let variance = g.relu(&variance);
    let variance = g.affine(&variance, 1.0, VARIANCE_FLOOR);
    let log = g.log(&variance);
    vec![mean, g.affine(&log, 0.5, 0.0)]
}
