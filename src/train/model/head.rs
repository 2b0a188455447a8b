//! The quality head: tokens of the text embedding look at tokens of the image embedding, what they find is added to the image
//! embedding, and a perceptron reads the score.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;

use super::layers::{Attention, LAYER_NORM_EPSILON, Mask, export_layer_norm, export_linear};
use super::scorer::ScoreUnit;
use super::{EMBEDDING, TOKEN_LENGTH, TOKENS};
use crate::train::onnx::{Dim, GraphBuilder};

const HEADS: usize = 4;
const HIDDEN: usize = 128;

/// `image_embedding [N, D]`, `text_embedding [N, D]` -> `score [N]`.
///
/// Both sequences have more than one token, so the attention's shares depend on the text; the residual path keeps the image
/// in the answer whatever they are.
#[derive(Module, Debug)]
pub struct QualityHead<B: Backend> {
    attention: Attention<B>,
    norm: LayerNorm<B>,
    hidden: Linear<B>,
    output: Linear<B>,
    dropout: Dropout,
}

impl<B: Backend> QualityHead<B> {
    /// A fresh head.
    pub fn new(dropout: f64, device: &B::Device) -> Self {
        Self {
            attention: Attention::new(TOKEN_LENGTH, HEADS, device),
            norm: LayerNormConfig::new(EMBEDDING).init(device),
            hidden: LinearConfig::new(EMBEDDING, HIDDEN).init(device),
            output: LinearConfig::new(HIDDEN, 1).init(device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// Scores on the data's scale, `[N]`.
    pub fn forward(&self, image: Tensor<B, 2>, text: Tensor<B, 2>, unit: ScoreUnit) -> Tensor<B, 1> {
        let n = image.dims()[0];
        let tokens = |x: Tensor<B, 2>| x.reshape([n, TOKENS, TOKEN_LENGTH]);
        let found = self.attention.forward(tokens(text), tokens(image.clone()), Mask::Nothing);
        let fused = self.norm.forward(image + found.reshape([n, EMBEDDING]));
        let hidden = relu(self.hidden.forward(self.dropout.forward(fused)));
        let score = self.output.forward(self.dropout.forward(hidden)).reshape([n]);
        score * unit.deviation + unit.mean
    }

    /// Writes the whole head.
    pub fn export(&self, g: &mut GraphBuilder, unit: ScoreUnit) {
        let dims = [Dim::Batch, Dim::Fixed(EMBEDDING)];
        let image = g.input_f32("image_embedding", &dims);
        let text = g.input_f32("text_embedding", &dims);
        let cut = [-1, TOKENS as i64, TOKEN_LENGTH as i64];
        let image_tokens = g.reshape(&image, &cut);
        let text_tokens = g.reshape(&text, &cut);
        let found = self.attention.export(g, &text_tokens, &image_tokens, Mask::Nothing, [TOKENS, TOKENS]);
        let found = g.reshape(&found, &[-1, EMBEDDING as i64]);
        let fused = g.add(&image, &found);
        let fused = export_layer_norm(&self.norm, g, &fused, LAYER_NORM_EPSILON);
        let hidden = export_linear(&self.hidden, g, &fused);
        let hidden = g.relu(&hidden);
        let score = export_linear(&self.output, g, &hidden);
        let score = g.reshape(&score, &[-1]);
        let score = g.affine(&score, unit.deviation, unit.mean);
        g.output_f32("score", &score, &[Dim::Batch]);
    }
}
