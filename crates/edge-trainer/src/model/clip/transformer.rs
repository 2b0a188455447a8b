//! The transformer that both of CLIP's encoders are made of.

use burn::module::{Module, ParamId, list_param_ids};
use burn::nn::Linear;
use burn::tensor::backend::Backend;

use super::config::{Activation, TransformerConfig};
use crate::model::layers::{Attention, Mask, TransformerLayer};
use crate::model::load;
use crate::model::ops::LayerOps;
use crate::weights::{WeightError, WeightSource};

/// The slope in QuickGELU (Hendrycks, Gimpel, "Gaussian error linear units", 2016, the sigmoid approximation).
const QUICK_SLOPE: f32 = 1.702;

/// The layers of a transformer, `[N, T, W] -> [N, T, W]`.
#[derive(Module, Debug)]
pub struct Transformer<B: Backend> {
    layers: Vec<TransformerLayer<B>>,
    quick: bool,
    causal: bool,
    epsilon: f64,
}

impl<B: Backend> Transformer<B> {
    /// Reads the layers whose keys begin with `prefix`. If `causal` is true, a token sees only itself and the tokens before it.
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
        let layers = (0..config.layers).map(|i| load_layer(weights, &format!("{prefix}.layers.{i}"), config, device));
        Ok(Self {
            layers: layers.collect::<Result<_, _>>()?,
            quick: config.activation == Activation::QuickGelu,
            causal,
            epsilon: config.epsilon,
        })
    }

    /// Applies all layers, `x [N, T, W] -> [N, T, W]`; `length` is T.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, mut x: O::Tensor<3>, length: usize) -> O::Tensor<3> {
        for layer in &self.layers {
            let mask = if self.causal { Mask::Later } else { Mask::Nothing };
            x = layer.forward(ops, (x, length), mask, self.epsilon, |ops, x| self.activate(ops, x));
        }
        x
    }

    fn activate<O: LayerOps<B>>(&self, ops: &mut O, x: O::Tensor<3>) -> O::Tensor<3> {
        if !self.quick {
            return ops.gelu(x);
        }
        let steep = ops.affine(x.clone(), QUICK_SLOPE, 0.0);
        let gate = ops.sigmoid(steep);
        ops.mul(x, gate)
    }

    /// Returns the parameter ids of each layer, the first layer first.
    pub fn layer_ids(&self) -> Vec<Vec<ParamId>> {
        self.layers.iter().map(list_param_ids).collect()
    }
}

fn load_layer<B: Backend>(
    weights: &mut dyn WeightSource,
    prefix: &str,
    config: TransformerConfig,
    device: &B::Device,
) -> Result<TransformerLayer<B>, WeightError> {
    let TransformerConfig { width, hidden, heads, epsilon, .. } = config;
    let mut linear = |name: &str, inputs, outputs| -> Result<Linear<B>, WeightError> {
        load::linear(weights, &format!("{prefix}.{name}"), [inputs, outputs], true, device)
    };
    let query = linear("self_attn.q_proj", width, width)?;
    let key = linear("self_attn.k_proj", width, width)?;
    let value = linear("self_attn.v_proj", width, width)?;
    let output = linear("self_attn.out_proj", width, width)?;
    let (first, second) = (linear("mlp.fc1", width, hidden)?, linear("mlp.fc2", hidden, width)?);
    let mut norm = |name: &str| load::layer_norm(weights, &format!("{prefix}.{name}"), width, epsilon, device);
    Ok(TransformerLayer {
        attention_norm: norm("layer_norm1")?,
        attention: Attention::of([query, key, value, output], heads),
        hidden_norm: norm("layer_norm2")?,
        hidden: first,
        output: second,
    })
}
