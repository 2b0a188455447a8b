//! One type for all image encoders and one for all text encoders, with their inputs, outputs and export.

use std::collections::HashSet;

use burn::module::{Module, Param, ParamId, list_param_ids};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};

use super::clip::{ClipText, ClipVision};
use super::efficientnet::EfficientNet;
use super::kernel_encoder::KernelEncoder;
use super::ops::{Compute, LayerOps};
use super::text_encoder::TextEncoder;
use super::token_means::TokenMeans;
use crate::device::carry;
use crate::onnx::{Dim, GraphBuilder};
use edge_model::image_input::InputRule;

/// N images as input of the model.
#[derive(Debug, Clone)]
pub enum ImageBatch<B: Backend> {
    /// `[N, 3, S, S]`, normalised.
    Pixels(Tensor<B, 4>),
    /// The outputs of a frozen encoder.
    Features(ImageOutput<B>),
}

/// The output of an image encoder for N images.
#[derive(Debug, Clone)]
pub struct ImageOutput<B: Backend> {
    /// Image embeddings `[N, D]`.
    pub embedding: Tensor<B, 2>,
    /// Patch tokens `[N, P, W]`, if the network has patches.
    pub patches: Option<Tensor<B, 3>>,
}

/// The output of a text encoder for N prompts.
#[derive(Debug, Clone)]
pub struct TextOutput<B: Backend> {
    /// Text embeddings `[N, D]`.
    pub embedding: Tensor<B, 2>,
    /// Token states `[N, T, V]` and their mask `[N, T]`, if the network gives them.
    pub tokens: Option<(Tensor<B, 3>, Tensor<B, 2>)>,
}

impl<B: Backend> ImageBatch<B> {
    /// Concatenates the images of all batches. Returns `None` without batches or for a mixture of pixels and features. All batches must
    /// have the same image size.
    pub fn cat(parts: Vec<Self>) -> Option<Self> {
        let (mut pixels, mut features) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Self::Pixels(part) => pixels.push(part),
                Self::Features(part) => features.push(part),
            }
        }
        match (pixels.is_empty(), features.is_empty()) {
            (false, true) => Some(Self::Pixels(Tensor::cat(pixels, 0))),
            (true, false) => Some(Self::Features(ImageOutput::cat(features))),
            _ => None,
        }
    }

    /// Returns the same images on another backend.
    pub fn carry<T: Backend>(self, device: &T::Device) -> ImageBatch<T> {
        match self {
            Self::Pixels(pixels) => ImageBatch::Pixels(carry(pixels, device)),
            Self::Features(features) => ImageBatch::Features(ImageOutput {
                embedding: carry(features.embedding, device),
                patches: features.patches.map(|patches| carry(patches, device)),
            }),
        }
    }

    /// Returns the same images on the backend that computes gradients.
    pub fn lift<A: AutodiffBackend<InnerBackend = B>>(self) -> ImageBatch<A> {
        match self {
            Self::Pixels(pixels) => ImageBatch::Pixels(Tensor::from_inner(pixels)),
            Self::Features(features) => ImageBatch::Features(features.lift()),
        }
    }
}

impl<B: Backend> ImageOutput<B> {
    fn cat(parts: Vec<Self>) -> Self {
        let (embeddings, patches): (Vec<_>, Vec<_>) = parts.into_iter().map(|p| (p.embedding, p.patches)).unzip();
        let patches: Option<Vec<_>> = patches.into_iter().collect();
        Self { embedding: Tensor::cat(embeddings, 0), patches: patches.map(|p| Tensor::cat(p, 0)) }
    }

    /// Returns the rows with these indices; an index may occur several times.
    pub fn select(self, rows: Tensor<B, 1, Int>) -> Self {
        Self {
            embedding: self.embedding.select(0, rows.clone()),
            patches: self.patches.map(|patches| patches.select(0, rows)),
        }
    }

    /// Returns the same output on the backend that computes gradients.
    pub fn lift<A: AutodiffBackend<InnerBackend = B>>(self) -> ImageOutput<A> {
        ImageOutput { embedding: Tensor::from_inner(self.embedding), patches: self.patches.map(Tensor::from_inner) }
    }
}

impl<B: Backend> TextOutput<B> {
    /// Concatenates the outputs of several batches, which must come from the same encoder.
    pub fn cat(parts: Vec<Self>) -> Self {
        let (embeddings, tokens): (Vec<_>, Vec<_>) = parts.into_iter().map(|p| (p.embedding, p.tokens)).unzip();
        let tokens: Option<(Vec<_>, Vec<_>)> =
            tokens.into_iter().collect::<Option<Vec<_>>>().map(|t| t.into_iter().unzip());
        let tokens = tokens.map(|(states, masks)| (Tensor::cat(states, 0), Tensor::cat(masks, 0)));
        Self { embedding: Tensor::cat(embeddings, 0), tokens }
    }

    /// Returns the rows with these indices; an index may occur several times.
    pub fn select(&self, rows: Tensor<B, 1, Int>) -> Self {
        Self {
            embedding: self.embedding.clone().select(0, rows.clone()),
            tokens: self
                .tokens
                .as_ref()
                .map(|(states, mask)| (states.clone().select(0, rows.clone()), mask.clone().select(0, rows))),
        }
    }

    /// Returns the same output on the backend that computes gradients.
    pub fn lift<A: AutodiffBackend<InnerBackend = B>>(self) -> TextOutput<A> {
        let tokens = self.tokens.map(|(states, mask)| (Tensor::from_inner(states), Tensor::from_inner(mask)));
        TextOutput { embedding: Tensor::from_inner(self.embedding), tokens }
    }
}

/// An image encoder of any kind.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one, and burn's modules cannot be boxed")]
pub enum ImageBackbone<B: Backend> {
    /// The project's own encoder, with or without an EfficientNet.
    Kernel(KernelEncoder<B>),
    /// CLIP's vision transformer.
    Clip(ClipVision<B>),
    /// EfficientNet-B0.
    EfficientNet(EfficientNet<B>),
}

impl<B: Backend> ImageBackbone<B> {
    /// Encodes pixels; features pass through unchanged.
    pub fn forward(&self, images: ImageBatch<B>) -> ImageOutput<B> {
        match (self, images) {
            (_, ImageBatch::Features(features)) => features,
            (Self::Kernel(net), ImageBatch::Pixels(pixels)) => {
                let (ops, width_px) = (&mut Compute::<B>::new(pixels.device()), pixels.dims()[3]);
                ImageOutput { embedding: net.forward(ops, pixels, width_px), patches: None }
            }
            (Self::Clip(net), ImageBatch::Pixels(pixels)) => {
                let ops = &mut Compute::<B>::new(pixels.device());
                let (embedding, states) = net.forward(ops, pixels);
                ImageOutput { embedding, patches: Some(net.patch_tokens(ops, states)) }
            }
            (Self::EfficientNet(net), ImageBatch::Pixels(pixels)) => {
                let (ops, side_px) = (&mut Compute::<B>::new(pixels.device()), pixels.dims()[2]);
                ImageOutput { embedding: net.forward(ops, pixels, side_px), patches: None }
            }
        }
    }

    /// Writes the encoder for images prepared by `rule` to `g`. Patch tokens are an output only if `with_patches` is true.
    pub fn export(&self, g: &mut GraphBuilder, rule: &InputRule, with_patches: bool) {
        match self {
            Self::Kernel(net) => {
                let (width, height) = rule.input_size();
                net.export(g, (width as usize, height as usize));
            }
            Self::Clip(net) => net.export(g, with_patches),
            Self::EfficientNet(net) => net.export(g, rule.size_px as usize),
        }
    }
}

/// A text encoder of any kind.
#[derive(Module, Debug)]
pub enum TextBackbone<B: Backend> {
    /// The project's own encoder, `small-transformer`.
    Small(TextEncoder<B>),
    /// CLIP's text encoder.
    Clip(ClipText<B>),
    /// A table of tokens' vectors.
    Means(TokenMeans<B>),
    /// No text side.
    Silent(SilentText<B>),
}

impl<B: Backend> TextBackbone<B> {
    /// Encodes `input_ids [N, T]`.
    pub fn forward(&self, input_ids: Tensor<B, 2, Int>) -> TextOutput<B> {
        let (ops, length) = (&mut Compute::<B>::new(input_ids.device()), input_ids.dims()[1]);
        match self {
            Self::Small(net) => TextOutput { embedding: net.forward(ops, input_ids), tokens: None },
            Self::Clip(net) => {
                let encoded = net.forward(ops, input_ids, length);
                TextOutput { embedding: encoded.embedding, tokens: Some((encoded.states, encoded.mask)) }
            }
            Self::Means(net) => {
                let encoded = net.forward(ops, input_ids, length);
                TextOutput { embedding: encoded.embedding, tokens: Some((encoded.states, encoded.mask)) }
            }
            Self::Silent(net) => TextOutput { embedding: net.forward(ops, input_ids), tokens: None },
        }
    }

    /// Writes the encoder for prompts of `length` tokens to `g`. Token states and their mask are outputs only if `with_tokens` is true.
    pub fn export(&self, g: &mut GraphBuilder, length: usize, with_tokens: bool) {
        match self {
            Self::Small(net) => net.export(g),
            Self::Clip(net) => net.export(g, length, with_tokens),
            Self::Means(net) => net.export(g, length, with_tokens),
            Self::Silent(net) => net.export(g, length),
        }
    }
}

impl<B: Backend> ImageBackbone<B> {
    /// Returns the parameter ids of each layer, from input to output. Parameters before the first layer are a layer of their own;
    /// parameters behind the last layer belong to the last layer.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        match self {
            Self::Clip(net) => with_ends(net.layer_ids(), list_param_ids(net), &net.ids_behind()),
            Self::EfficientNet(net) => with_ends(net.layer_ids(), list_param_ids(net), &net.ids_behind()),
            Self::Kernel(net) => vec![list_param_ids(net)],
        }
    }
}

impl<B: Backend> TextBackbone<B> {
    /// Returns the parameter ids of each layer, from input to output; empty without a text side. Parameters before the first layer are a
    /// layer of their own; parameters behind the last layer belong to the last layer.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        match self {
            Self::Clip(net) => with_ends(net.layer_ids(), list_param_ids(net), &net.ids_behind()),
            Self::Small(net) => vec![list_param_ids(net)],
            Self::Means(_) | Self::Silent(_) => Vec::new(),
        }
    }
}

/// Adds the parameters outside the layers: the ids `behind` to the last layer, all others as a new first layer.
fn with_ends(mut layers: Vec<Vec<ParamId>>, all: Vec<ParamId>, behind: &[ParamId]) -> Vec<Vec<ParamId>> {
    let inside: HashSet<ParamId> = layers.iter().flatten().chain(behind).copied().collect();
    if let Some(last) = layers.last_mut() {
        last.extend(behind);
    }
    layers.insert(0, all.into_iter().filter(|id| !inside.contains(id)).collect());
    layers
}

/// The text encoder of a model without a text side: every text embedding is zero, and so is its similarity to any image.
#[derive(Module, Debug)]
pub struct SilentText<B: Backend> {
    zero: Param<Tensor<B, 1>>,
}

impl<B: Backend> SilentText<B> {
    /// Creates an encoder whose embeddings have the length `embedding`.
    pub fn new(embedding: usize, device: &B::Device) -> Self {
        Self { zero: Param::from_tensor(Tensor::zeros([embedding], device)).set_require_grad(false) }
    }

    /// Returns zeros `[N, D]`. The ids `[N, T]` only determine the number of rows.
    fn forward<O: LayerOps<B>>(&self, ops: &mut O, ids: O::Ids) -> O::Tensor<2> {
        let ids = ops.ids_to_floats(ids);
        let sum: O::Tensor<1> = ops.sum(ids, 1);
        let column = ops.reshape(sum, [-1, 1]);
        let none = ops.affine(column, 0.0, 0.0);
        let zeros = ops.learned_row(&self.zero);
        ops.add(none, zeros)
    }

    fn export(&self, g: &mut GraphBuilder, length: usize) {
        let ids = g.input_i64("input_ids", &[Dim::Batch, Dim::Fixed(length)]);
        let embedding = self.forward(g, ids);
        g.output_f32("text_embedding", &embedding, &[Dim::Batch, Dim::Fixed(self.zero.dims()[0])]);
    }
}
