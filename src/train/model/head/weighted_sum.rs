//! A weighted sum: the tag says how much each number of the image embedding counts, and a small network over both corrects it. For
//! embeddings whose numbers are answers already, such as those of `small-kernel`: nothing normalises them, and at the beginning
//! only the first one counts. Stored embeddings suffice.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::{HeadInput, HeadShape, embedding_inputs};
use crate::train::model::layers::{LAYER_NORM_EPSILON, export_layer_norm, export_linear, scaled, weights};
use crate::train::onnx::{GraphBuilder, Value};

/// Length of what the tag is reduced to.
const CODE: usize = 64;
/// Hidden units of the correction.
const UNITS: usize = 64;
/// Weight of the embedding's first number at the beginning.
const FIRST: f32 = 0.9;

/// `image_embedding [N, D]`, `text_embedding [N, D]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct WeightedSum<B: Backend> {
    /// What each number counts under every tag, `[D]`.
    common: Param<Tensor<B, 1>>,
    text_norm: LayerNorm<B>,
    code: Linear<B>,
    /// Code -> what each number counts more or less under this tag, and a shift; zero at the beginning.
    of_tag: Linear<B>,
    hidden_image: Linear<B>,
    hidden_tag: Linear<B>,
    /// Zero at the beginning.
    output: Linear<B>,
    dropout: Dropout,
}

impl<B: Backend> WeightedSum<B> {
    /// A fresh head.
    pub fn new(shape: HeadShape, dropout: f64, device: &B::Device) -> Self {
        let d = shape.embedding;
        let mut common = vec![0.0; d];
        common[0] = FIRST;
        let closed = |inputs, outputs| scaled(LinearConfig::new(inputs, outputs).init(device), [0.0; 2]);
        Self {
            common: Param::from_tensor(Tensor::from_data(TensorData::new(common, [d]), device)),
            text_norm: LayerNormConfig::new(d).init(device),
            code: LinearConfig::new(d, CODE).init(device),
            of_tag: closed(CODE, d + 1),
            hidden_image: LinearConfig::new(d, UNITS).init(device),
            hidden_tag: LinearConfig::new(CODE, UNITS).init(device),
            output: closed(UNITS, 1),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// `[N]`, in the unit of the training scores.
    pub fn forward(&self, input: HeadInput<B>) -> Tensor<B, 1> {
        let [n, d] = input.image.dims();
        let code = relu(self.code.forward(self.text_norm.forward(input.text)));
        let code = self.dropout.forward(code);
        let of_tag = self.of_tag.forward(code.clone());
        let counts = of_tag.clone().narrow(1, 0, d) + self.common.val().unsqueeze::<2>();
        let shift = of_tag.narrow(1, d, 1);
        let sum = (input.image.clone() * counts).sum_dim(1) + shift;
        let hidden = relu(self.hidden_image.forward(input.image) + self.hidden_tag.forward(code));
        let correction = self.output.forward(self.dropout.forward(hidden));
        (sum + correction).reshape([n])
    }

    /// The same head with nothing closed.
    #[cfg(test)]
    pub(super) fn opened(mut self) -> Self {
        let open = |layer: &mut Linear<B>, like: &Linear<B>| {
            let [inputs, outputs] = layer.weight.dims();
            let some = like.weight.val().slice([0..1, 0..1]).reshape([1, 1]) + 0.1;
            layer.weight = layer.weight.clone().map(|w| w + some.clone().repeat(&[inputs, outputs]) * 0.1);
        };
        let like = self.code.clone();
        open(&mut self.of_tag, &like);
        open(&mut self.output, &like);
        self
    }

    /// Writes the head up to its `[N, 1]`.
    pub fn export(&self, g: &mut GraphBuilder, shape: HeadShape) -> Value {
        let [image, text] = embedding_inputs(g, shape);
        let d = shape.embedding as i64;
        let text = export_layer_norm(&self.text_norm, g, &text, LAYER_NORM_EPSILON);
        let code = export_linear(&self.code, g, &text);
        let code = g.relu(&code);
        let of_tag = export_linear(&self.of_tag, g, &code);
        let counts = g.slice(&of_tag, 1, 0, d);
        let common = g.constant(&weights(&self.common), &[shape.embedding]);
        let counts = g.add(&counts, &common);
        let shift = g.slice(&of_tag, 1, d, d + 1);
        let weighted = g.mul(&image, &counts);
        let sum = g.sum(&weighted, &[1]);
        let sum = g.reshape(&sum, &[-1, 1]);
        let sum = g.add(&sum, &shift);
        let hidden_image = export_linear(&self.hidden_image, g, &image);
        let hidden_tag = export_linear(&self.hidden_tag, g, &code);
        let hidden = g.add(&hidden_image, &hidden_tag);
        let hidden = g.relu(&hidden);
        let correction = export_linear(&self.output, g, &hidden);
        g.add(&sum, &correction)
    }
}
