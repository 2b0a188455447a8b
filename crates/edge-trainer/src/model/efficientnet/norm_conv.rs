//! A convolution without bias and the batch normalisation behind it (Ioffe, Szegedy, 2015).

use burn::module::{Module, Param, RunningState};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Tensor, TensorData};
use half::f16;

use super::shape::Family;
use crate::model::load;
use crate::model::ops::{ConvShape, LayerOps};
use crate::model::values::values;
use crate::weights::{WeightError, WeightSource, Weights};

impl Family {
    /// The epsilon of the normalisations: that of the framework in which the networks were trained.
    fn epsilon(self) -> f64 {
        match self {
            Self::Original => 1e-5,
            Self::Lite => 1e-3,
        }
    }
}

/// The shape of a convolution. It is padded so that only the stride changes the size of the maps.
#[derive(Debug, Clone, Copy)]
pub struct NormConvShape {
    /// Family of the network.
    pub family: Family,
    /// Numbers of input and output channels.
    pub channels: [usize; 2],
    /// Side of the kernel, odd.
    pub kernel: usize,
    /// Stride in both directions, in pixels.
    pub stride: usize,
    /// Whether every channel has a kernel of its own.
    pub depthwise: bool,
}

impl NormConvShape {
    fn weight(&self) -> [usize; 4] {
        let [inputs, outputs] = self.channels;
        [outputs, if self.depthwise { 1 } else { inputs }, self.kernel, self.kernel]
    }
}

/// Names of a convolution and of its normalisation in a weight file.
#[derive(Debug, Clone)]
pub struct NormConvKeys {
    /// Name of the convolution without `.weight`.
    pub conv: String,
    /// Name of the normalisation without `.weight`, `.bias`, `.running_mean`, `.running_var`.
    pub norm: String,
}

/// The values rounded to 16-bit floats.
pub fn in_16_bits<B: Backend, const D: usize>(tensor: Tensor<B, D>, device: &B::Device) -> Tensor<B, D> {
    let dims = tensor.dims();
    let rounded: Vec<f32> = values(tensor).into_iter().map(|v| f16::from_f32(v).to_f32()).collect();
    Tensor::from_data(TensorData::new(rounded, dims), device)
}

/// `[N, I, H, W] -> [N, O, H', W']`.
#[derive(Module, Debug)]
pub struct NormConv<B: Backend> {
    weight: Param<Tensor<B, 4>>,
    norm: BatchNorm<B>,
    stride: usize,
    depthwise: bool,
    is_lite: bool,
}

impl<B: Backend> NormConv<B> {
    /// Random weights: normal with variance 2 / fan-out, as in the paper's own code.
    pub fn new(shape: NormConvShape, device: &B::Device) -> Self {
        let [outputs, inputs, k, _] = shape.weight();
        let fan_out = k * k * if shape.depthwise { 1 } else { outputs };
        let normal = Distribution::Normal(0.0, (2.0 / fan_out as f64).sqrt());
        Self {
            weight: Param::from_tensor(Tensor::random([outputs, inputs, k, k], normal, device)),
            norm: BatchNormConfig::new(outputs).with_epsilon(shape.family.epsilon()).init(device),
            stride: shape.stride,
            depthwise: shape.depthwise,
            is_lite: shape.family == Family::Lite,
        }
    }

    /// Reads weights and running statistics.
    ///
    /// # Errors
    /// [`WeightError`].
    pub fn load(
        weights: &mut Weights<'_>,
        keys: &NormConvKeys,
        shape: NormConvShape,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let dims = shape.weight();
        let length = dims[0];
        let norm = |name: &str| format!("{}.{name}", keys.norm);
        let mut batch_norm = BatchNormConfig::new(length).with_epsilon(shape.family.epsilon()).init(device);
        batch_norm.gamma = load::tensor(weights, &norm("weight"), [length], device)?;
        batch_norm.beta = load::tensor(weights, &norm("bias"), [length], device)?;
        let mut running = |name: &str| -> Result<Tensor<B, 1>, WeightError> {
            let values = weights.take(&norm(name), &[length])?;
            Ok(Tensor::from_data(TensorData::new(values, [length]), device))
        };
        batch_norm.running_mean = RunningState::new(running("running_mean")?);
        batch_norm.running_var = RunningState::new(running("running_var")?);
        let weight = load::tensor(weights, &format!("{}.weight", keys.conv), dims, device)?;
        let NormConvShape { family, stride, depthwise, .. } = shape;
        Ok(Self { weight, norm: batch_norm, stride, depthwise, is_lite: family == Family::Lite })
    }

    /// The same layer with the normalisation folded into the convolution. The weights are rounded to 16-bit floats.
    pub fn folded(self, device: &B::Device) -> Self {
        let (mean, variance) = (self.norm.running_mean.value(), self.norm.running_var.value());
        let epsilon = self.norm.epsilon;
        let [outputs, ..] = self.weight.dims();
        let scale = self.norm.gamma.val() / (variance + epsilon).sqrt();
        let bias = self.norm.beta.val() - mean * scale.clone();
        let weight = self.weight.map(|weight| in_16_bits(weight * scale.reshape([outputs, 1, 1, 1]), device));
        let mut norm = BatchNormConfig::new(outputs).with_epsilon(epsilon).init(device);
        // A leaf, as burn requires of parameters: the values alone, without how they were computed.
        norm.beta = Param::from_tensor(Tensor::from_data(values(bias).as_slice(), device));
        norm.running_var = RunningState::new(Tensor::full([outputs], 1.0 - epsilon as f32, device));
        Self { weight, norm, ..self }
    }

    /// Sets all means, variances and biases of the normalisation.
    #[cfg(test)]
    pub fn set_statistics(&mut self, mean: f32, variance: f32, bias: f32) {
        let (device, length) = (self.weight.device(), self.outputs());
        self.norm.running_mean = RunningState::new(Tensor::full([length], mean, &device));
        self.norm.running_var = RunningState::new(Tensor::full([length], variance, &device));
        self.norm.beta = Param::from_tensor(Tensor::full([length], bias, &device));
    }

    /// Returns the number of output channels.
    pub fn outputs(&self) -> usize {
        self.weight.dims()[0]
    }

    /// `[N, I, H, W] -> [N, O, H', W']` and their side, for square maps of `side` pixels.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, (x, side): (O::Tensor<4>, usize)) -> (O::Tensor<4>, usize) {
        let [outputs, _, kernel, _] = self.weight.dims();
        let (groups, stride) = (if self.depthwise { outputs } else { 1 }, self.stride);
        let after = side.div_ceil(stride);
        let padding = if self.is_lite {
            // TensorFlow's padding SAME: as few zeros as make the output that large. An odd one goes below and to the right.
            let zeros = ((after - 1) * stride + kernel).saturating_sub(side);
            [zeros / 2, zeros.div_ceil(2)]
        } else {
            [kernel / 2; 2]
        };
        (ops.norm_conv(&self.weight, &self.norm, ConvShape { kernel, stride, padding, groups }, x), after)
    }
}
