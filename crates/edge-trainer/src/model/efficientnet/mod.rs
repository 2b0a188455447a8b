//! EfficientNet (Tan, Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019): the image-only
//! baseline that models with text are compared with. Weights come in the layout of timm or of torchvision.

mod block;
mod layout;
mod norm_conv;

use std::path::Path;

use burn::module::{Module, ParamId, list_param_ids};
use burn::tensor::backend::Backend;

use block::{BlockShape, ResidualBlock};
use layout::Layout;
use norm_conv::{NormConv, NormConvShape};

use crate::model::ops::LayerOps;
use crate::onnx::{Dim, GraphBuilder};
use crate::weights::{WeightError, WeightFile};

/// A row of table 1 of the paper (a stage): consecutive blocks of one shape. The first block may halve the size of the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stage {
    expansion: usize,
    channels: usize,
    blocks: usize,
    stride: usize,
    kernel: usize,
}

/// Channels, strides and numbers of blocks of an EfficientNet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EfficientNetShape {
    stem: usize,
    stages: [Stage; 7],
    /// Length D of the image embedding.
    pub embedding: usize,
}

impl EfficientNetShape {
    /// EfficientNet-B0, table 1 of the paper.
    pub fn b0() -> Self {
        Self::with_channels(32, [16, 24, 40, 80, 112, 192, 320], 1280)
    }

    fn with_channels(stem: usize, channels: [usize; 7], embedding: usize) -> Self {
        let stage = |i: usize, expansion, blocks, stride, kernel| Stage {
            expansion,
            channels: channels[i],
            blocks,
            stride,
            kernel,
        };
        let stages = [
            stage(0, 1, 1, 1, 3),
            stage(1, 6, 2, 2, 3),
            stage(2, 6, 2, 2, 5),
            stage(3, 6, 3, 2, 3),
            stage(4, 6, 3, 1, 5),
            stage(5, 6, 4, 2, 5),
            stage(6, 6, 1, 1, 3),
        ];
        Self { stem, stages, embedding }
    }

    /// Returns, for every block, the number of its stage, its number within the stage and its shape. Both numbers start at 0.
    fn blocks(&self) -> Vec<(usize, usize, BlockShape)> {
        let mut inputs = self.stem;
        let mut all = Vec::new();
        for (number, stage) in self.stages.iter().enumerate() {
            for i in 0..stage.blocks {
                let stride = if i == 0 { stage.stride } else { 1 };
                let Stage { expansion, channels, kernel, .. } = *stage;
                all.push((number, i, BlockShape { inputs, outputs: channels, expansion, kernel, stride }));
                inputs = channels;
            }
        }
        all
    }
}

/// `pixel_values [N, 3, S, S]` -> `image_embedding [N, D]`.
#[derive(Module, Debug)]
pub struct EfficientNet<B: Backend> {
    stem: NormConv<B>,
    blocks: Vec<ResidualBlock<B>>,
    head: NormConv<B>,
}

impl<B: Backend> EfficientNet<B> {
    /// A network with random weights.
    pub fn new(shape: &EfficientNetShape, device: &B::Device) -> Self {
        let (stem, head) = ends(shape);
        Self {
            stem: NormConv::new(stem, device),
            blocks: shape.blocks().into_iter().map(|(_, _, block)| ResidualBlock::new(block, device)).collect(),
            head: NormConv::new(head, device),
        }
    }

    /// Reads weights in the layout of timm or of torchvision and ignores the classifier.
    ///
    /// # Errors
    /// [`WeightError`].
    pub fn load(path: &Path, shape: &EfficientNetShape, device: &B::Device) -> Result<Self, WeightError> {
        let file = WeightFile::read(path)?;
        let mut weights = file.tensors()?;
        let layout = Layout::of(&weights);
        let (stem, head) = ends(shape);
        let stem = NormConv::load(&mut weights, &layout.stem(), stem, device)?;
        let blocks = shape
            .blocks()
            .into_iter()
            .map(|(stage, number, block)| ResidualBlock::load(&mut weights, layout, [stage, number], block, device))
            .collect::<Result<_, _>>()?;
        let head = NormConv::load(&mut weights, &layout.head(), head, device)?;
        weights.ignore(|key| key.starts_with("classifier.") || key.ends_with(".num_batches_tracked"));
        weights.finish()?;
        Ok(Self { stem, blocks, head })
    }

    /// Returns the ids of the parameters of each block, from the input on.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        self.blocks.iter().map(list_param_ids).collect()
    }

    /// Returns the ids of the parameters behind the last block.
    pub fn ids_behind(&self) -> Vec<ParamId> {
        list_param_ids(&self.head)
    }

    /// `[N, 3, S, S]` -> `[N, D]`.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, pixels: O::Tensor<4>) -> O::Tensor<2> {
        let x = self.stem.forward(ops, pixels);
        let mut x = ops.silu(x);
        for block in &self.blocks {
            x = block.forward(ops, x);
        }
        let x = self.head.forward(ops, x);
        let x = ops.silu(x);
        ops.mean_of_maps(x)
    }

    /// Writes the encoder to the graph, with an input of `side` x `side` pixels and an output.
    pub fn export(&self, g: &mut GraphBuilder, side: usize) {
        let side = Dim::Fixed(side);
        let pixels = g.input_f32("pixel_values", &[Dim::Batch, Dim::Fixed(3), side, side]);
        let embedding = self.forward(g, pixels);
        g.output_f32("image_embedding", &embedding, &[Dim::Batch, Dim::Fixed(self.head.outputs())]);
    }
}

/// Shapes of the first and of the last convolution.
fn ends(shape: &EfficientNetShape) -> (NormConvShape, NormConvShape) {
    let last = shape.stages[6].channels;
    let stem = NormConvShape { channels: [3, shape.stem], kernel: 3, stride: 2, depthwise: false };
    (stem, NormConvShape { channels: [last, shape.embedding], kernel: 1, stride: 1, depthwise: false })
}

#[cfg(test)]
mod tests;
