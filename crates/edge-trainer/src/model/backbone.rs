//! The encoders of both sides behind one face, whatever network they are: what goes in, what comes out, and their export.

use std::collections::HashSet;

use burn::module::{Module, Param, ParamId, list_param_ids};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};

use super::clip::{ClipText, ClipVision};
use super::efficientnet::EfficientNet;
use super::image_encoder::ImageEncoder;
use super::text_encoder::TextEncoder;
use crate::device::carry;
use crate::onnx::{Dim, GraphBuilder};
use edge_model::image_input::InputRule;

/// N images on their way into the model.
#[derive(Debug, Clone)]
pub enum ImageBatch<B: Backend> {
    /// `[N, 3, S, S]`, normalised.
    Pixels(Tensor<B, 4>),
    /// What a frozen encoder made of them.
    Features(ImageOutput<B>),
}

/// What an image encoder gives.
#[derive(Debug, Clone)]
pub struct ImageOutput<B: Backend> {
    /// `[N, D]`.
    pub embedding: Tensor<B, 2>,
    /// `[N, P, W]`, where the network has patches.
    pub patches: Option<Tensor<B, 3>>,
}

/// What a text encoder gives.
#[derive(Debug, Clone)]
pub struct TextOutput<B: Backend> {
    /// `[N, D]`.
    pub embedding: Tensor<B, 2>,
    /// States `[N, T, V]` and mask `[N, T]`, where the network gives them.
    pub tokens: Option<(Tensor<B, 3>, Tensor<B, 2>)>,
}

impl<B: Backend> ImageBatch<B> {
    /// The images of all parts, one after the other. All parts are of one kind and size.
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

    /// The same images on another backend.
    pub fn carry<T: Backend>(self, device: &T::Device) -> ImageBatch<T> {
        match self {
            Self::Pixels(pixels) => ImageBatch::Pixels(carry(pixels, device)),
            Self::Features(features) => ImageBatch::Features(ImageOutput {
                embedding: carry(features.embedding, device),
                patches: features.patches.map(|patches| carry(patches, device)),
            }),
        }
    }

    /// The same images for a backend that differentiates.
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

    /// The rows of these indices, some of them several times.
    pub fn select(self, rows: Tensor<B, 1, Int>) -> Self {
        Self {
            embedding: self.embedding.select(0, rows.clone()),
            patches: self.patches.map(|patches| patches.select(0, rows)),
        }
    }

    /// The same for a backend that differentiates.
    pub fn lift<A: AutodiffBackend<InnerBackend = B>>(self) -> ImageOutput<A> {
        ImageOutput { embedding: Tensor::from_inner(self.embedding), patches: self.patches.map(Tensor::from_inner) }
    }
}

impl<B: Backend> TextOutput<B> {
    /// The texts of all parts, one after the other. All parts are of one kind.
    pub fn cat(parts: Vec<Self>) -> Self {
        let (embeddings, tokens): (Vec<_>, Vec<_>) = parts.into_iter().map(|p| (p.embedding, p.tokens)).unzip();
        let tokens: Option<(Vec<_>, Vec<_>)> =
            tokens.into_iter().collect::<Option<Vec<_>>>().map(|t| t.into_iter().unzip());
        let tokens = tokens.map(|(states, masks)| (Tensor::cat(states, 0), Tensor::cat(masks, 0)));
        Self { embedding: Tensor::cat(embeddings, 0), tokens }
    }

    /// The rows of these indices, some of them several times.
    pub fn select(&self, rows: Tensor<B, 1, Int>) -> Self {
        Self {
            embedding: self.embedding.clone().select(0, rows.clone()),
            tokens: self
                .tokens
                .as_ref()
                .map(|(states, mask)| (states.clone().select(0, rows.clone()), mask.clone().select(0, rows))),
        }
    }

    /// The same for a backend that differentiates.
    pub fn lift<A: AutodiffBackend<InnerBackend = B>>(self) -> TextOutput<A> {
        let tokens = self.tokens.map(|(states, mask)| (Tensor::from_inner(states), Tensor::from_inner(mask)));
        TextOutput { embedding: Tensor::from_inner(self.embedding), tokens }
    }
}

/// The image side's encoder.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model holds one of them, and burn's modules cannot be boxed")]
pub enum ImageBackbone<B: Backend> {
    /// `small-kernel`.
    Small(ImageEncoder<B>),
    /// A vision transformer of CLIP.
    Clip(ClipVision<B>),
    /// EfficientNet.
    EfficientNet(EfficientNet<B>),
}

impl<B: Backend> ImageBackbone<B> {
    /// Encodes the images; what is encoded already passes through.
    pub fn forward(&self, images: ImageBatch<B>) -> ImageOutput<B> {
        match (self, images) {
            (_, ImageBatch::Features(features)) => features,
            (Self::Small(net), ImageBatch::Pixels(pixels)) => {
                ImageOutput { embedding: net.forward(&pixels), patches: None }
            }
            (Self::Clip(net), ImageBatch::Pixels(pixels)) => {
                let (embedding, patches) = net.forward(pixels);
                ImageOutput { embedding, patches: Some(patches) }
            }
            (Self::EfficientNet(net), ImageBatch::Pixels(pixels)) => {
                ImageOutput { embedding: net.forward(pixels), patches: None }
            }
        }
    }

    /// Writes the encoder for inputs under `rule`.
    pub fn export(&self, g: &mut GraphBuilder, rule: &InputRule, with_patches: bool) {
        match self {
            Self::Small(net) => net.export(g, rule.size_px as usize),
            Self::Clip(net) => net.export(g, with_patches),
            Self::EfficientNet(net) => net.export(g, rule.size_px as usize),
        }
    }
}

/// The text side's encoder.
#[derive(Module, Debug)]
pub enum TextBackbone<B: Backend> {
    /// `small-transformer`.
    Small(TextEncoder<B>),
    /// CLIP's.
    Clip(ClipText<B>),
    /// None.
    Silent(SilentText<B>),
}

impl<B: Backend> TextBackbone<B> {
    /// `input_ids [N, T]` -> embeddings and, where the network gives them, token states.
    pub fn forward(&self, input_ids: Tensor<B, 2, Int>) -> TextOutput<B> {
        match self {
            Self::Small(net) => TextOutput { embedding: net.forward(input_ids), tokens: None },
            Self::Clip(net) => {
                let encoded = net.forward(input_ids);
                TextOutput { embedding: encoded.embedding, tokens: Some((encoded.states, encoded.mask)) }
            }
            Self::Silent(net) => TextOutput { embedding: net.forward(input_ids), tokens: None },
        }
    }

    /// Writes the encoder for prompts of T tokens.
    pub fn export(&self, g: &mut GraphBuilder, length: usize, with_tokens: bool) {
        match self {
            Self::Small(net) => net.export(g),
            Self::Clip(net) => net.export(g, length, with_tokens),
            Self::Silent(net) => net.export(g, length),
        }
    }
}

impl<B: Backend> ImageBackbone<B> {
    /// The parameters by layer, from the input on; what stands before the first layer is a layer by itself, and what stands behind
    /// the last one belongs to it.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        match self {
            Self::Clip(net) => with_ends(net.layer_ids(), list_param_ids(net), &net.ids_behind()),
            Self::EfficientNet(net) => with_ends(net.layer_ids(), list_param_ids(net), &net.ids_behind()),
            Self::Small(net) => vec![list_param_ids(net)],
        }
    }
}

impl<B: Backend> TextBackbone<B> {
    /// As those of the image side.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        match self {
            Self::Clip(net) => with_ends(net.layer_ids(), list_param_ids(net), &net.ids_behind()),
            Self::Small(net) => vec![list_param_ids(net)],
            Self::Silent(_) => Vec::new(),
        }
    }
}

/// Puts the parameters that belong to no layer before the first, or to the last.
fn with_ends(mut layers: Vec<Vec<ParamId>>, all: Vec<ParamId>, behind: &[ParamId]) -> Vec<Vec<ParamId>> {
    let inside: HashSet<ParamId> = layers.iter().flatten().chain(behind).copied().collect();
    if let Some(last) = layers.last_mut() {
        last.extend(behind);
    }
    layers.insert(0, all.into_iter().filter(|id| !inside.contains(id)).collect());
    layers
}

/// Stands where a model has no text side: every text's embedding is zero, and so is its similarity to any image.
#[derive(Module, Debug)]
pub struct SilentText<B: Backend> {
    zero: Param<Tensor<B, 1>>,
}

impl<B: Backend> SilentText<B> {
    /// With embeddings of that length.
    pub fn new(embedding: usize, device: &B::Device) -> Self {
        Self { zero: Param::from_tensor(Tensor::zeros([embedding], device)).set_require_grad(false) }
    }

    fn forward(&self, input_ids: Tensor<B, 2, Int>) -> Tensor<B, 2> {
        self.zero.val().unsqueeze::<2>().repeat_dim(0, input_ids.dims()[0])
    }

    /// The ids decide nothing but how many rows of zeros there are.
    fn export(&self, g: &mut GraphBuilder, length: usize) {
        let ids = g.input_i64("input_ids", &[Dim::Batch, Dim::Fixed(length)]);
        let dim = self.zero.dims()[0];
        let ids = g.to_f32(&ids);
        let sum = g.sum(&ids, &[1]);
        let column = g.reshape(&sum, &[-1, 1]);
        let none = g.affine(&column, 0.0, 0.0);
        let zeros = g.constant(&vec![0.0; dim], &[dim]);
        let embedding = g.add(&none, &zeros);
        g.output_f32("text_embedding", &embedding, &[Dim::Batch, Dim::Fixed(dim)]);
    }
}
