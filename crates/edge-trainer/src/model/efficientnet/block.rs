//! The inverted residual block (Sandler et al., "MobileNetV2", 2018). Blocks of the original family have squeeze-and-excitation (Hu,
//! Shen, Sun, 2018).

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::backend::Backend;

use super::activation;
use super::layout::BlockKeys;
use super::norm_conv::{NormConv, NormConvShape};
use super::shape::Family;
use crate::model::load;
use crate::model::ops::LayerOps;
use crate::weights::{WeightError, Weights};

/// The sizes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockShape {
    /// Family of the network.
    pub family: Family,
    /// Number of input channels.
    pub inputs: usize,
    /// Number of output channels.
    pub outputs: usize,
    /// Number of channels of the depthwise convolution, as a multiple of `inputs`.
    pub expansion: usize,
    /// Side of the depthwise convolution's kernel, in pixels.
    pub kernel: usize,
    /// Stride of the depthwise convolution in both directions, in pixels.
    pub stride: usize,
}

impl BlockShape {
    fn hidden(&self) -> usize {
        self.inputs * self.expansion
    }

    fn is_residual(&self) -> bool {
        self.stride == 1 && self.inputs == self.outputs
    }

    /// Returns the number of channels after the squeeze: a quarter of the block's input channels.
    fn squeezed(&self) -> usize {
        (self.inputs / 4).max(1)
    }

    fn pointwise(&self, channels: [usize; 2]) -> NormConvShape {
        NormConvShape { family: self.family, channels, kernel: 1, stride: 1, depthwise: false }
    }

    fn expand(&self) -> NormConvShape {
        self.pointwise([self.inputs, self.hidden()])
    }

    fn project(&self) -> NormConvShape {
        self.pointwise([self.hidden(), self.outputs])
    }

    fn depthwise(&self) -> NormConvShape {
        NormConvShape {
            family: self.family,
            channels: [self.hidden(); 2],
            kernel: self.kernel,
            stride: self.stride,
            depthwise: true,
        }
    }
}

/// An inverted residual block, `[N, I, H, W] -> [N, O, H', W']`.
#[derive(Module, Debug)]
pub struct ResidualBlock<B: Backend> {
    /// Convolution that expands the channels; `None` if the expansion is 1.
    expand: Option<NormConv<B>>,
    depthwise: NormConv<B>,
    /// First layer of the squeeze-and-excitation; `None` in a Lite network.
    squeeze: Option<Linear<B>>,
    /// Second layer of the squeeze-and-excitation; `None` in a Lite network.
    excite: Option<Linear<B>>,
    project: NormConv<B>,
    /// Whether the input is added to the output.
    residual: bool,
    is_lite: bool,
}

impl<B: Backend> ResidualBlock<B> {
    /// Creates a block with random weights.
    pub fn new(shape: BlockShape, device: &B::Device) -> Self {
        let (hidden, squeezed) = (shape.hidden(), shape.squeezed());
        let has_gate = shape.family == Family::Original;
        let linear = |from, to| has_gate.then(|| LinearConfig::new(from, to).init(device));
        Self {
            expand: (shape.expansion > 1).then(|| NormConv::new(shape.expand(), device)),
            depthwise: NormConv::new(shape.depthwise(), device),
            squeeze: linear(hidden, squeezed),
            excite: linear(squeezed, hidden),
            project: NormConv::new(shape.project(), device),
            residual: shape.is_residual(),
            is_lite: !has_gate,
        }
    }

    /// Reads the weights of a block from the tensors that `keys` names.
    ///
    /// # Errors
    /// [`WeightError`].
    pub fn load(
        weights: &mut Weights<'_>,
        keys: &BlockKeys,
        shape: BlockShape,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let (hidden, squeezed) = (shape.hidden(), shape.squeezed());
        let expand = match &keys.expand {
            Some(keys) => Some(NormConv::load(weights, keys, shape.expand(), device)?),
            None => None,
        };
        let depthwise = NormConv::load(weights, &keys.depthwise, shape.depthwise(), device)?;
        let [squeeze, excite] = &keys.gate;
        let gate = match shape.family {
            Family::Original => Some((
                load::pointwise(weights, squeeze, [hidden, squeezed], device)?,
                load::pointwise(weights, excite, [squeezed, hidden], device)?,
            )),
            Family::Lite => None,
        };
        let project = NormConv::load(weights, &keys.project, shape.project(), device)?;
        let (residual, is_lite) = (shape.is_residual(), shape.family == Family::Lite);
        let (squeeze, excite) = gate.unzip();
        Ok(Self { expand, depthwise, squeeze, excite, project, residual, is_lite })
    }

    /// The same block with folded convolutions; see [`NormConv::folded`].
    pub fn folded(self, device: &B::Device) -> Self {
        Self {
            expand: self.expand.map(|conv| conv.folded(device)),
            depthwise: self.depthwise.folded(device),
            project: self.project.folded(device),
            ..self
        }
    }

    /// Returns the number O of output channels.
    pub fn outputs(&self) -> usize {
        self.project.outputs()
    }

    /// `[N, I, H, W] -> [N, O, H', W']` and their sides, for square maps of `side` pixels.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, (input, side): (O::Tensor<4>, usize)) -> (O::Tensor<4>, usize) {
        let (mut x, mut side) = (input.clone(), side);
        if let Some(expand) = &self.expand {
            (x, side) = expand.forward(ops, (x, side));
            x = activation(ops, x, self.is_lite);
        }
        (x, side) = self.depthwise.forward(ops, (x, side));
        x = activation(ops, x, self.is_lite);
        if let (Some(squeeze), Some(excite)) = (&self.squeeze, &self.excite) {
            let mean = ops.mean_of_maps(x.clone());
            let squeezed = ops.linear(squeeze, mean);
            let squeezed = ops.silu(squeezed);
            let gate = ops.linear(excite, squeezed);
            let gate = ops.sigmoid(gate);
            x = ops.scale_maps(x, gate, self.depthwise.outputs());
        }
        (x, side) = self.project.forward(ops, (x, side));
        (if self.residual { ops.add(x, input) } else { x }, side)
    }
}
