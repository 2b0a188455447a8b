//! Channels, strides and numbers of blocks of the EfficientNets.

use super::block::BlockShape;
use super::norm_conv::NormConvShape;

/// A row of table 1 of the paper (a stage): consecutive blocks of one shape. The first block may halve the size of the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    expansion: usize,
    channels: usize,
    blocks: usize,
    stride: usize,
    kernel: usize,
}

/// The two families of networks. They have the same stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The paper's networks as PyTorch's libraries build them: SiLU, and squeeze-and-excitation in every block.
    Original,
    /// EfficientNet-Lite (R. Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020), made for small devices: ReLU6 and no
    /// squeeze-and-excitation. Trained in TensorFlow, whose padding and epsilon of the normalisation differ from PyTorch's.
    Lite,
}

/// Channels, strides and numbers of blocks of an EfficientNet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EfficientNetShape {
    pub(super) family: Family,
    stem: usize,
    stages: [Stage; STAGES],
    /// Length D of the image embedding.
    pub embedding: usize,
    /// Number of classes of the classifier; `None` without a classifier.
    pub classes: Option<usize>,
}

/// Number of stages between the first and the last convolution.
pub const STAGES: usize = 7;
/// Number of blocks of each stage of EfficientNet-B0.
const B0_BLOCKS: [usize; STAGES] = [1, 2, 2, 3, 3, 4, 1];

impl EfficientNetShape {
    /// EfficientNet-B0, table 1 of the paper, without its classifier.
    pub fn b0() -> Self {
        Self::with_channels(32, [16, 24, 40, 80, 112, 192, 320], 1280)
    }

    /// EfficientNet-Lite0 with its classifier of ImageNet's 1,000 classes, for pictures of 224 x 224 pixels.
    pub fn lite0() -> Self {
        Self { family: Family::Lite, classes: Some(1000), ..Self::b0() }
    }

    /// EfficientNet-Lite2 with its classifier of ImageNet's 1,000 classes, for pictures of 260 x 260 pixels. The width is 1.1 times and
    /// the depth 1.2 times that of Lite0, except in the first and in the last stage.
    pub fn lite2() -> Self {
        let blocks = [1, 3, 3, 4, 4, 5, 1];
        let shape = Self::new(32, [16, 24, 48, 88, 120, 208, 352], blocks, 1280);
        Self { family: Family::Lite, classes: Some(1000), ..shape }
    }

    /// A network of the original family with these numbers of channels.
    pub(super) fn with_channels(stem: usize, channels: [usize; STAGES], embedding: usize) -> Self {
        Self::new(stem, channels, B0_BLOCKS, embedding)
    }

    /// A Lite network with these numbers of channels and classes.
    #[cfg(test)]
    pub(in crate::model) fn narrow_lite(
        stem: usize,
        channels: [usize; STAGES],
        embedding: usize,
        classes: usize,
    ) -> Self {
        let shape = Self::with_channels(stem, channels, embedding);
        Self { family: Family::Lite, classes: Some(classes), ..shape }
    }

    fn new(stem: usize, channels: [usize; STAGES], blocks: [usize; STAGES], embedding: usize) -> Self {
        let stage = |i: usize, expansion, stride, kernel| Stage {
            expansion,
            channels: channels[i],
            blocks: blocks[i],
            stride,
            kernel,
        };
        let stages = [
            stage(0, 1, 1, 3),
            stage(1, 6, 2, 3),
            stage(2, 6, 2, 5),
            stage(3, 6, 2, 3),
            stage(4, 6, 1, 5),
            stage(5, 6, 2, 5),
            stage(6, 6, 1, 3),
        ];
        Self { family: Family::Original, stem, stages, embedding, classes: None }
    }

    /// Returns, for every block, the number of its stage, its number within the stage and its shape. Both numbers start at 0.
    pub(super) fn blocks(&self) -> Vec<(usize, usize, BlockShape)> {
        let mut inputs = self.stem;
        let mut all = Vec::new();
        for (number, stage) in self.stages.iter().enumerate() {
            for i in 0..stage.blocks {
                let stride = if i == 0 { stage.stride } else { 1 };
                let Stage { expansion, channels, kernel, .. } = *stage;
                let family = self.family;
                all.push((number, i, BlockShape { family, inputs, outputs: channels, expansion, kernel, stride }));
                inputs = channels;
            }
        }
        all
    }

    /// Number of blocks of each stage.
    pub(super) fn stage_blocks(&self) -> [usize; STAGES] {
        self.stages.map(|stage| stage.blocks)
    }

    /// Shape of the first convolution.
    pub(super) fn stem(&self) -> NormConvShape {
        NormConvShape { family: self.family, channels: [3, self.stem], kernel: 3, stride: 2, depthwise: false }
    }

    /// Shape of the last convolution.
    pub(super) fn head(&self) -> NormConvShape {
        let channels = [self.stages[STAGES - 1].channels, self.embedding];
        NormConvShape { family: self.family, channels, kernel: 1, stride: 1, depthwise: false }
    }
}
