//! CLIP's image encoder: a vision transformer (Dosovitskiy et al., "An image is worth 16x16 words", 2021) with a normalisation
//! before its first layer (Radford et al., "Learning transferable visual models from natural language supervision", 2021).

use burn::module::{Module, Param, ParamId, list_param_ids};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::config::{ClipConfig, VisionConfig};
use super::transformer::Transformer;
use crate::model::load;
use crate::model::ops::{ConvShape, LayerOps};
use crate::onnx::{Dim, GraphBuilder};
use crate::weights::{WeightError, WeightSource};

/// CLIP's image encoder: `pixel_values [N, 3, S, S]` -> `image_embedding [N, D]` and `patch_tokens [N, P, W]`.
#[derive(Module, Debug)]
pub struct ClipVision<B: Backend> {
    class: Param<Tensor<B, 1>>,
    patch: Param<Tensor<B, 4>>,
    positions: Param<Tensor<B, 2>>,
    first_norm: LayerNorm<B>,
    transformer: Transformer<B>,
    last_norm: LayerNorm<B>,
    projection: Linear<B>,
    image_size: usize,
    patch_size: usize,
    epsilon: f64,
}

impl<B: Backend> ClipVision<B> {
    /// Reads the encoder's weights.
    ///
    /// # Errors
    /// [`WeightError`].
    pub fn load(weights: &mut dyn WeightSource, config: &ClipConfig, device: &B::Device) -> Result<Self, WeightError> {
        let VisionConfig { transformer, image_size, patch_size } = config.vision;
        let (width, epsilon, patches) = (transformer.width, transformer.epsilon, config.vision.patches());
        let key = |name: &str| format!("vision_model.{name}");
        let embeddings = |name: &str| key(&format!("embeddings.{name}"));
        Ok(Self {
            class: load::tensor(weights, &embeddings("class_embedding"), [width], device)?,
            patch: load::tensor(
                weights,
                &embeddings("patch_embedding.weight"),
                [width, 3, patch_size, patch_size],
                device,
            )?,
            positions: load::tensor(weights, &embeddings("position_embedding.weight"), [patches + 1, width], device)?,
            // The misspelling is the file format's.
            first_norm: load::layer_norm(weights, &key("pre_layrnorm"), width, epsilon, device)?,
            transformer: Transformer::load(weights, &key("encoder"), transformer, false, device)?,
            last_norm: load::layer_norm(weights, &key("post_layernorm"), width, epsilon, device)?,
            projection: load::linear(weights, "visual_projection", [width, config.embedding], false, device)?,
            image_size,
            patch_size,
            epsilon,
        })
    }

    /// Returns the parameter ids of each layer.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        self.transformer.layer_ids()
    }

    /// Returns the parameter ids behind the last layer.
    pub fn ids_behind(&self) -> Vec<ParamId> {
        [list_param_ids(&self.last_norm), list_param_ids(&self.projection)].concat()
    }

    /// Encodes `pixel_values [N, 3, S, S]`. Returns the embeddings `[N, D]`, and the states `[N, P + 1, W]` of the class token and the
    /// patches.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, pixels: O::Tensor<4>) -> (O::Tensor<2>, O::Tensor<3>) {
        let [tokens, width] = self.positions.dims();
        let shape = ConvShape { kernel: self.patch_size, stride: self.patch_size, padding: [0; 2], groups: 1 };
        let patches = ops.mixed_conv(&self.patch, shape, pixels);
        let patches = ops.reshape(patches, [-1, width as i64, (tokens - 1) as i64]);
        let patches = ops.permute(patches, [0, 2, 1]);
        let x = ops.prepend_class(&self.class, &self.positions, patches);
        let x = ops.layer_norm(&self.first_norm, self.epsilon, x);
        let states = self.transformer.forward(ops, x, tokens);
        let class = ops.slice(states.clone(), 1, 0..1);
        let class = ops.reshape(class, [-1, width as i64]);
        let class = ops.layer_norm(&self.last_norm, self.epsilon, class);
        (ops.linear(&self.projection, class), states)
    }

    /// Returns the patch tokens `[N, P, W]` among the states `[N, P + 1, W]`.
    pub fn patch_tokens<O: LayerOps<B>>(&self, ops: &mut O, states: O::Tensor<3>) -> O::Tensor<3> {
        ops.slice(states, 1, 1..self.positions.dims()[0])
    }

    /// Writes the encoder to `g`. `patch_tokens` is an output only if `with_tokens` is true.
    pub fn export(&self, g: &mut GraphBuilder, with_tokens: bool) {
        let side = Dim::Fixed(self.image_size);
        let pixels = g.input_f32("pixel_values", &[Dim::Batch, Dim::Fixed(3), side, side]);
        let (embedding, states) = self.forward(g, pixels);
        let length = self.projection.weight.dims()[1];
        g.output_f32("image_embedding", &embedding, &[Dim::Batch, Dim::Fixed(length)]);
        if with_tokens {
            let [tokens, width] = self.positions.dims();
            let patches = self.patch_tokens(g, states);
            g.output_f32("patch_tokens", &patches, &[Dim::Batch, Dim::Fixed(tokens - 1), Dim::Fixed(width)]);
        }
    }
}
