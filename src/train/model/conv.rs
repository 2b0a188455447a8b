//! Convolutions without batch normalisation: their weights are standardised instead, so that training and inference compute
//! the same function at every image size, and no activation is touched twice.

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Distribution, Tensor};

use super::layers::{values, weights};
use super::mixed::conv2d;
use crate::train::onnx::{ConvShape, GraphBuilder, Value};

/// Makes up for what a rectifier takes of the variance (Brock, De, Smith, "Characterizing signal propagation to close the
/// performance gap in unnormalized ResNets", 2021).
const RELU_GAIN: f64 = 1.713;
/// Gain of a residual branch's last convolution at the start: small, so that a block begins close to the identity.
const BRANCH_GAIN: f64 = 0.3;

/// A convolution whose weights have mean 0 and variance 1 / fan-in per output channel, times a learned gain (Qiao et al.,
/// "Weight standardization", 2019).
#[derive(Module, Debug)]
pub struct StandardConv<B: Backend> {
    weight: Param<Tensor<B, 4>>,
    gain: Param<Tensor<B, 1>>,
    bias: Param<Tensor<B, 1>>,
    stride: usize,
    padding: usize,
}

impl<B: Backend> StandardConv<B> {
    /// `inputs -> outputs` channels with a square kernel.
    pub fn new(channels: [usize; 2], kernel: usize, stride: usize, padding: usize, device: &B::Device) -> Self {
        let [inputs, outputs] = channels;
        let normal = Distribution::Normal(0.0, 1.0);
        Self {
            weight: Param::from_tensor(Tensor::random([outputs, inputs, kernel, kernel], normal, device)),
            gain: Param::from_tensor(Tensor::full([outputs], RELU_GAIN, device)),
            bias: Param::from_tensor(Tensor::zeros([outputs], device)),
            stride,
            padding,
        }
    }

    fn with_gain(mut self, gain: f64) -> Self {
        let shape = self.gain.dims();
        let device = self.gain.val().device();
        self.gain = Param::from_tensor(Tensor::full(shape, gain, &device));
        self
    }

    /// The weights that the convolution is done with.
    fn standardised(&self) -> Tensor<B, 4> {
        let [o, i, k, _] = self.weight.dims();
        let fan_in = i * k * k;
        let flat = self.weight.val().reshape([o, fan_in]);
        let centred = flat.clone() - flat.mean_dim(1);
        let variance = centred.clone().square().mean_dim(1);
        let scale = (variance * fan_in as f32 + 1e-4).sqrt().recip() * self.gain.val().reshape([o, 1]);
        (centred * scale).reshape([o, i, k, k])
    }

    /// `[N, inputs, H, W] -> [N, outputs, H', W']`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let options = ConvOptions::new([self.stride; 2], [self.padding; 2], [1, 1], 1);
        conv2d(x, self.standardised(), Some(self.bias.val()), options)
    }

    /// Writes the convolution with its weights as they are used.
    pub fn export(&self, g: &mut GraphBuilder, x: &Value) -> Value {
        let dims = self.weight.dims();
        let weight = g.constant(&values(self.standardised()), &dims);
        let bias = g.constant(&weights(&self.bias), &dims[..1]);
        let shape = ConvShape { kernel: dims[2], stride: self.stride, padding: self.padding, groups: 1 };
        g.conv(x, &weight, &bias, shape)
    }
}

/// `x + conv(relu(conv(relu(x))))`.
#[derive(Module, Debug)]
pub struct ResidualBlock<B: Backend> {
    first: StandardConv<B>,
    second: StandardConv<B>,
}

impl<B: Backend> ResidualBlock<B> {
    /// Keeps the number of channels and the size.
    pub fn new(channels: usize, device: &B::Device) -> Self {
        let conv = || StandardConv::new([channels; 2], 3, 1, 1, device);
        Self { first: conv(), second: conv().with_gain(BRANCH_GAIN) }
    }

    /// `[N, C, H, W] -> [N, C, H, W]`.
    pub fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let branch = self.first.forward(relu(x.clone()));
        x + self.second.forward(relu(branch))
    }

    /// Writes [`ResidualBlock::forward`].
    pub fn export(&self, g: &mut GraphBuilder, x: &Value) -> Value {
        let branch = g.relu(x);
        let branch = self.first.export(g, &branch);
        let branch = g.relu(&branch);
        let branch = self.second.export(g, &branch);
        g.add(x, &branch)
    }
}
