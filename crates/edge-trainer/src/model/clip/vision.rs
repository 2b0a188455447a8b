//! CLIP's image encoder: a vision transformer (Dosovitskiy et al., "An image is worth 16x16 words", 2021) with a normalisation
//! before its first layer (Radford et al., "Learning transferable visual models from natural language supervision", 2021).

use burn::module::{Module, Param, ParamId, list_param_ids};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::ops::ConvOptions;

use super::config::{ClipConfig, VisionConfig};
use super::transformer::Transformer;
use crate::model::layers::{export_layer_norm, export_linear, weights};
use crate::model::load;
use crate::model::mixed::conv2d;
use crate::onnx::{ConvShape, Dim, GraphBuilder, Value};
use crate::weights::{WeightError, WeightSource};

/// `pixel_values [N, 3, S, S]` -> `image_embedding [N, D]` and `patch_tokens [N, P, W]`.
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
    /// Takes the encoder's weights.
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

    /// The parameters of each layer.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        self.transformer.layer_ids()
    }

    /// The parameters behind the last layer.
    pub fn ids_behind(&self) -> Vec<ParamId> {
        [list_param_ids(&self.last_norm), list_param_ids(&self.projection)].concat()
    }

    /// Number P of patches.
    fn patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }

    /// `pixel_values [N, 3, S, S]` -> `[N, D]`, `[N, P, W]`.
    pub fn forward(&self, pixel_values: Tensor<B, 4>) -> (Tensor<B, 2>, Tensor<B, 3>) {
        let n = pixel_values.dims()[0];
        let [tokens, width] = self.positions.dims();
        let options = ConvOptions::new([self.patch_size; 2], [0, 0], [1, 1], 1);
        let patches = conv2d(pixel_values, self.patch.val(), None, options);
        let patches = patches.reshape([n, width, tokens - 1]).swap_dims(1, 2);
        let class = self.class.val().reshape([1, 1, width]).repeat_dim(0, n);
        let x = Tensor::cat(vec![class, patches], 1) + self.positions.val().unsqueeze::<3>();
        let x = self.transformer.forward(self.first_norm.forward(x));
        let class = x.clone().narrow(1, 0, 1).reshape([n, width]);
        let embedding = self.projection.forward(self.last_norm.forward(class));
        (embedding, x.narrow(1, 1, tokens - 1))
    }

    /// Writes the encoder; `patch_tokens` only where a head asks for them.
    pub fn export(&self, g: &mut GraphBuilder, with_tokens: bool) {
        let ([_, width], tokens) = (self.positions.dims(), self.patches() + 1);
        let side = Dim::Fixed(self.image_size);
        let pixels = g.input_f32("pixel_values", &[Dim::Batch, Dim::Fixed(3), side, side]);
        let x = self.export_tokens(g, &pixels);
        let x = export_layer_norm(&self.first_norm, g, &x, self.epsilon);
        let x = self.transformer.export(g, &x, tokens);
        let class = g.slice(&x, 1, 0, 1);
        let class = g.reshape(&class, &[-1, width as i64]);
        let class = export_layer_norm(&self.last_norm, g, &class, self.epsilon);
        let embedding = export_linear(&self.projection, g, &class);
        let length = self.projection.weight.dims()[1];
        g.output_f32("image_embedding", &embedding, &[Dim::Batch, Dim::Fixed(length)]);
        if with_tokens {
            let patches = g.slice(&x, 1, 1, tokens as i64);
            g.output_f32("patch_tokens", &patches, &[Dim::Batch, Dim::Fixed(tokens - 1), Dim::Fixed(width)]);
        }
    }

    /// The patches behind the class token, each with its position. The class token comes in by padding the patches with a row
    /// of zeros in front and adding it with the positions: no operator then needs to know the batch.
    fn export_tokens(&self, g: &mut GraphBuilder, pixels: &Value) -> Value {
        let [tokens, width] = self.positions.dims();
        let kernel = g.constant(&weights(&self.patch), &self.patch.dims());
        let bias = g.constant(&vec![0.0; width], &[width]);
        let shape = ConvShape { kernel: self.patch_size, stride: self.patch_size, padding: 0, groups: 1 };
        let patches = g.conv(pixels, &kernel, &bias, shape);
        let patches = g.reshape(&patches, &[-1, width as i64, (tokens - 1) as i64]);
        let patches = g.transpose(&patches, &[0, 2, 1]);
        let padded = g.pad_front(&patches, 1, 1, 3);
        let mut added = weights(&self.positions);
        added.iter_mut().zip(weights(&self.class)).for_each(|(position, class)| *position += class);
        let added = g.constant(&added, &[tokens, width]);
        g.add(&padded, &added)
    }
}
