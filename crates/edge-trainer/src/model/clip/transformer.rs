//! The transformer that both of CLIP's encoders are made of: layers of attention and a perceptron, each normalised before and
//! added to what came in.

use burn::module::{Module, ParamId, list_param_ids};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, sigmoid};
use burn::tensor::backend::Backend;

use super::config::{Activation, TransformerConfig};
use crate::model::layers::{Attention, Mask, export_layer_norm, export_linear};
use crate::model::load;
use crate::model::mixed::linear;
use crate::onnx::{GraphBuilder, Value};
use crate::weights::{WeightError, WeightSource};

/// The slope in QuickGELU (Hendrycks, Gimpel, "Gaussian error linear units", 2016, the sigmoid approximation).
const QUICK_SLOPE: f32 = 1.702;

#[derive(Module, Debug)]
struct Layer<B: Backend> {
    attention_norm: LayerNorm<B>,
    attention: Attention<B>,
    hidden_norm: LayerNorm<B>,
    hidden: Linear<B>,
    output: Linear<B>,
}

/// `[N, T, W] -> [N, T, W]`.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    layers: Vec<Layer<B>>,
    quick: bool,
    causal: bool,
    epsilon: f64,
}

impl<B: Backend> Transformer<B> {
    /// Takes the layers below `prefix`. `causal`: a token sees only itself and those before it.
    ///
    /// # Errors
    /// [`WeightError`].
    pub fn load(
        weights: &mut dyn WeightSource,
        prefix: &str,
        config: TransformerConfig,
        causal: bool,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let layers = (0..config.layers).map(|i| Layer::load(weights, &format!("{prefix}.layers.{i}"), config, device));
        Ok(Self {
            layers: layers.collect::<Result<_, _>>()?,
            quick: config.activation == Activation::QuickGelu,
            causal,
            epsilon: config.epsilon,
        })
    }

    /// `[N, T, W] -> [N, T, W]`.
    pub fn forward(&self, mut x: Tensor<B, 3>) -> Tensor<B, 3> {
        let [n, t, width] = x.dims();
        for layer in &self.layers {
            let seen = layer.attention_norm.forward(x.clone());
            let mask = if self.causal { Mask::Later } else { Mask::Nothing };
            x = x + layer.attention.forward(seen.clone(), seen, mask);
            let hidden = layer.hidden_norm.forward(x.clone()).reshape([n * t, width]);
            let hidden = self.activate(linear(&layer.hidden, hidden));
            x = x + linear(&layer.output, hidden).reshape([n, t, width]);
        }
        x
    }

    /// The parameters of each layer, the first layer first.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        self.layers.iter().map(list_param_ids).collect()
    }

    fn activate(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        if self.quick { x.clone() * sigmoid(x * QUICK_SLOPE) } else { gelu(x) }
    }

    /// Writes [`Transformer::forward`] for T tokens.
    pub fn export(&self, g: &mut GraphBuilder, x: &Value, length: usize) -> Value {
        let mut x = x.clone();
        for layer in &self.layers {
            let seen = export_layer_norm(&layer.attention_norm, g, &x, self.epsilon);
            let mask = if self.causal { Mask::Later } else { Mask::Nothing };
            let attended = layer.attention.export(g, &seen, &seen, mask, [length, length]);
            x = g.add(&x, &attended);
            let hidden = export_layer_norm(&layer.hidden_norm, g, &x, self.epsilon);
            let hidden = export_linear(&layer.hidden, g, &hidden);
            let hidden = if self.quick { g.quick_gelu(&hidden, QUICK_SLOPE) } else { g.gelu(&hidden) };
            let output = export_linear(&layer.output, g, &hidden);
            x = g.add(&x, &output);
        }
        x
    }
}

impl<B: Backend> Layer<B> {
    fn load(
        weights: &mut dyn WeightSource,
        prefix: &str,
        config: TransformerConfig,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let TransformerConfig { width, hidden, heads, epsilon, .. } = config;
        let mut linear = |name: &str, inputs, outputs| {
            load::linear(weights, &format!("{prefix}.{name}"), [inputs, outputs], true, device)
        };
        let query = linear("self_attn.q_proj", width, width)?;
        let key = linear("self_attn.k_proj", width, width)?;
        let value = linear("self_attn.v_proj", width, width)?;
        let output = linear("self_attn.out_proj", width, width)?;
        let (first, second) = (linear("mlp.fc1", width, hidden)?, linear("mlp.fc2", hidden, width)?);
        let mut norm = |name: &str| load::layer_norm(weights, &format!("{prefix}.{name}"), width, epsilon, device);
        Ok(Self {
            attention_norm: norm("layer_norm1")?,
            attention: Attention::of([query, key, value, output], heads),
            hidden_norm: norm("layer_norm2")?,
            hidden: first,
            output: second,
        })
    }
}
