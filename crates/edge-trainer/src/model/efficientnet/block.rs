//! The inverted residual block (Sandler et al., "MobileNetV2", 2018) with squeeze-and-excitation (Hu, Shen, Sun, 2018).

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::backend::Backend;

use super::layout::Layout;
use super::norm_conv::{NormConv, NormConvShape};
use crate::model::load;
use crate::model::ops::LayerOps;
use crate::weights::{WeightError, Weights};

/// The sizes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockShape {
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

    /// Returns the number of channels after the squeeze: a quarter of the block's input channels.
    fn squeezed(&self) -> usize {
        (self.inputs / 4).max(1)
    }

    fn pointwise(channels: [usize; 2]) -> NormConvShape {
        NormConvShape { channels, kernel: 1, stride: 1, depthwise: false }
    }

    fn depthwise(&self) -> NormConvShape {
        NormConvShape { channels: [self.hidden(); 2], kernel: self.kernel, stride: self.stride, depthwise: true }
    }
}

/// An inverted residual block, `[N, I, H, W] -> [N, O, H', W']`.
#[derive(Module, Debug)]
pub struct ResidualBlock<B: Backend> {
    /// Convolution that expands the channels; `None` if the expansion is 1.
    expand: Option<NormConv<B>>,
    depthwise: NormConv<B>,
    squeeze: Linear<B>,
    excite: Linear<B>,
    project: NormConv<B>,
    /// Whether the input is added to the output.
    residual: bool,
}

impl<B: Backend> ResidualBlock<B> {
    /// Creates a block with random weights.
    pub fn new(shape: BlockShape, device: &B::Device) -> Self {
        let (hidden, squeezed) = (shape.hidden(), shape.squeezed());
        let expand = BlockShape::pointwise([shape.inputs, hidden]);
        Self {
            expand: (shape.expansion > 1).then(|| NormConv::new(expand, device)),
            depthwise: NormConv::new(shape.depthwise(), device),
            squeeze: LinearConfig::new(hidden, squeezed).init(device),
            excite: LinearConfig::new(squeezed, hidden).init(device),
            project: NormConv::new(BlockShape::pointwise([hidden, shape.outputs]), device),
            residual: shape.stride == 1 && shape.inputs == shape.outputs,
        }
    }

    /// Reads the weights of block `number` of `stage`.
    ///
    /// # Errors
    /// [`WeightError`].
    pub fn load(
        weights: &mut Weights<'_>,
        layout: Layout,
        [stage, number]: [usize; 2],
        shape: BlockShape,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let (hidden, squeezed) = (shape.hidden(), shape.squeezed());
        let keys = layout.block(stage, number);
        let expand = BlockShape::pointwise([shape.inputs, hidden]);
        let expand = keys.expand.as_ref().map(|keys| NormConv::load(weights, keys, expand, device)).transpose()?;
        Ok(Self {
            expand,
            depthwise: NormConv::load(weights, &keys.depthwise, shape.depthwise(), device)?,
            squeeze: load::pointwise(weights, &keys.squeeze, [hidden, squeezed], device)?,
            excite: load::pointwise(weights, &keys.excite, [squeezed, hidden], device)?,
            project: NormConv::load(weights, &keys.project, BlockShape::pointwise([hidden, shape.outputs]), device)?,
            residual: shape.stride == 1 && shape.inputs == shape.outputs,
        })
    }

    /// Applies the block, `[N, I, H, W] -> [N, O, H', W']`.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, input: O::Tensor<4>) -> O::Tensor<4> {
        let mut x = input.clone();
        if let Some(expand) = &self.expand {
            x = expand.forward(ops, x);
            x = ops.silu(x);
        }
        let x = self.depthwise.forward(ops, x);
        let x = ops.silu(x);
        let mean = ops.mean_of_maps(x.clone());
        let squeezed = ops.linear(&self.squeeze, mean);
        let squeezed = ops.silu(squeezed);
        let gate = ops.linear(&self.excite, squeezed);
        let gate = ops.sigmoid(gate);
        let x = ops.scale_maps(x, gate, self.depthwise.outputs());
        let x = self.project.forward(ops, x);
        if self.residual { ops.add(x, input) } else { x }
    }
}
