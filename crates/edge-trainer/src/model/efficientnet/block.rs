//! The inverted residual block (Sandler et al., "MobileNetV2", 2018) with squeeze-and-excitation (Hu, Shen, Sun, 2018).

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use burn::tensor::backend::Backend;

use super::batch_norm::times_maps;
use super::layout::Layout;
use super::norm_conv::{NormConv, NormConvShape, export_silu, silu};
use crate::model::layers::export_linear;
use crate::model::load;
use crate::model::maps::mean_of_maps;
use crate::onnx::{GraphBuilder, Value};
use crate::weights::{WeightError, Weights};

/// A block's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockShape {
    pub inputs: usize,
    pub outputs: usize,
    /// The depthwise convolution works on so many times `inputs` channels.
    pub expansion: usize,
    pub kernel: usize,
    pub stride: usize,
}

impl BlockShape {
    fn hidden(&self) -> usize {
        self.inputs * self.expansion
    }

    /// Channels that the excitation is squeezed to: a quarter of the block's input.
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

/// `[N, I, H, W] -> [N, O, H', W']`.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    /// None where the expansion is 1.
    expand: Option<NormConv<B>>,
    depthwise: NormConv<B>,
    squeeze: Linear<B>,
    excite: Linear<B>,
    project: NormConv<B>,
    /// Whether what came in is added.
    residual: bool,
}

impl<B: Backend> Block<B> {
    /// Random weights.
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

    /// Takes the weights of block `number` of `stage`.
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

    /// `[N, I, H, W] -> [N, O, H', W']`.
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let x = match &self.expand {
            Some(expand) => silu(expand.forward(input.clone())),
            None => input.clone(),
        };
        let x = silu(self.depthwise.forward(x));
        let gate = sigmoid(self.excite.forward(silu(self.squeeze.forward(mean_of_maps(x.clone())))));
        let x = self.project.forward(times_maps(x, gate));
        if self.residual { x + input } else { x }
    }

    /// Writes [`Block::forward`].
    pub fn export(&self, g: &mut GraphBuilder, input: &Value) -> Value {
        let mut x = input.clone();
        if let Some(expand) = &self.expand {
            x = expand.export(g, &x);
            x = export_silu(g, &x);
        }
        let x = self.depthwise.export(g, &x);
        let x = export_silu(g, &x);
        let mean = g.mean_of_maps(&x);
        let squeezed = export_linear(&self.squeeze, g, &mean);
        let squeezed = export_silu(g, &squeezed);
        let gate = export_linear(&self.excite, g, &squeezed);
        let gate = g.sigmoid(&gate);
        let gate = g.reshape(&gate, &[-1, self.depthwise.outputs() as i64, 1, 1]);
        let x = g.mul(&x, &gate);
        let x = self.project.export(g, &x);
        if self.residual { g.add(&x, input) } else { x }
    }
}
