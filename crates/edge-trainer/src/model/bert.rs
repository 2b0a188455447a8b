//! BERT's encoder (Devlin, Chang, Lee, Toutanova, "BERT: pre-training of deep bidirectional transformers for language understanding",
//! 2018), for the sentence encoders that were made from it, such as MiniLM. Reads texts for the token table and is no part of a bundle.

use std::path::Path;

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use serde::Deserialize;

use super::clip::{ConfigError, TransformerConfig};
use super::layers::{Attention, Mask};
use super::load;
use super::ops::{Compute, LayerOps, TensorOps};
use crate::weights::{WeightError, WeightFile, WeightSource, Weights};

/// Sizes of the encoder, as in a `config.json` of the Hugging Face layout.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct BertConfig {
    /// Number V of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Sizes of the layers; the width W is the length of a token's state.
    #[serde(flatten)]
    pub layers: TransformerConfig,
    /// Longest text, in tokens.
    #[serde(rename = "max_position_embeddings")]
    pub positions: usize,
    /// Number of kinds of tokens; only kind 0 is used.
    #[serde(rename = "type_vocab_size")]
    pub kinds: usize,
}

impl BertConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::Unreadable { path: path.to_owned(), reason: e.to_string() })?;
        let unusable = |reason: String| ConfigError::Unusable { path: path.to_owned(), reason };
        let file: serde_json::Value = serde_json::from_str(&text).map_err(|e| unusable(e.to_string()))?;
        let value = |name: &str| file.get(name).and_then(serde_json::Value::as_str).unwrap_or("missing");
        for (name, supported) in [("model_type", "bert"), ("hidden_act", "gelu")] {
            if value(name) != supported {
                return Err(unusable(format!("{name} is {:?}; only {supported:?} is supported", value(name))));
            }
        }
        let config: Self = serde_json::from_value(file).map_err(|e| unusable(e.to_string()))?;
        let TransformerConfig { width, hidden, layers, heads, .. } = config.layers;
        let counts = [config.vocab_size, hidden, layers, heads, width, config.positions, config.kinds];
        if counts.contains(&0) || !width.is_multiple_of(heads) {
            return Err(unusable(
                "the sizes must be positive, and hidden_size a multiple of num_attention_heads".to_owned(),
            ));
        }
        Ok(config)
    }
}

/// A layer: attention, then a perceptron. The sum of each one's input and output is normalised.
#[derive(Module, Debug)]
struct BertLayer<B: Backend> {
    attention: Attention<B>,
    attention_norm: LayerNorm<B>,
    hidden: Linear<B>,
    output: Linear<B>,
    output_norm: LayerNorm<B>,
}

/// `ids [N, T]` -> token states `[N, T, W]`.
#[derive(Module, Debug)]
pub struct Bert<B: Backend> {
    tokens: Param<Tensor<B, 2>>,
    /// Position embeddings plus the embedding of token kind 0.
    positions: Param<Tensor<B, 2>>,
    norm: LayerNorm<B>,
    layers: Vec<BertLayer<B>>,
    epsilon: f64,
}

impl<B: Backend> Bert<B> {
    /// Reads `model.safetensors` of the Hugging Face layout. The pooler is ignored.
    ///
    /// # Errors
    /// [`WeightError`].
    pub fn load(path: &Path, config: &BertConfig, device: &B::Device) -> Result<Self, WeightError> {
        let file = WeightFile::read(path)?;
        let mut weights = file.tensors()?;
        let BertConfig { vocab_size, layers: TransformerConfig { width, epsilon, layers, .. }, positions, kinds } =
            *config;
        let tokens = load::tensor(&mut weights, "embeddings.word_embeddings.weight", [vocab_size, width], device)?;
        let mut places = weights.take("embeddings.position_embeddings.weight", &[positions, width])?;
        let kind = weights.take("embeddings.token_type_embeddings.weight", &[kinds, width])?;
        for place in places.chunks_mut(width) {
            place.iter_mut().zip(&kind).for_each(|(place, kind)| *place += kind);
        }
        let positions = Tensor::from_data(TensorData::new(places, [positions, width]), device);
        let norm = load::layer_norm(&mut weights, "embeddings.LayerNorm", width, epsilon, device)?;
        let layers = (0..layers).map(|layer| BertLayer::load(&mut weights, config.layers, layer, device));
        let layers = layers.collect::<Result<_, _>>()?;
        weights.ignore(|key| key.starts_with("pooler.") || key == "embeddings.position_ids");
        weights.finish()?;
        Ok(Self { tokens, positions: Param::from_tensor(positions), norm, layers, epsilon })
    }

    /// `ids [N, T] -> [N, T, W]`. All texts have the length T: nothing is padding.
    pub fn forward(&self, ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let length = ids.dims()[1];
        let ops = &mut Compute::<B>::new(ids.device());
        let x = ops.embed([&self.tokens, &self.positions], ids, length);
        let mut x = ops.layer_norm(&self.norm, self.epsilon, x);
        for layer in &self.layers {
            let attended = layer.attention.forward(ops, x.clone(), x.clone(), Mask::Nothing, [length; 2]);
            let sum = ops.add(x, attended);
            x = ops.layer_norm(&layer.attention_norm, self.epsilon, sum);
            let hidden = ops.linear(&layer.hidden, x.clone());
            let hidden = ops.gelu(hidden);
            let output = ops.linear(&layer.output, hidden);
            let sum = ops.add(x, output);
            x = ops.layer_norm(&layer.output_norm, self.epsilon, sum);
        }
        x
    }
}

impl<B: Backend> BertLayer<B> {
    fn load(
        weights: &mut Weights<'_>,
        config: TransformerConfig,
        layer: usize,
        device: &B::Device,
    ) -> Result<Self, WeightError> {
        let TransformerConfig { width, hidden, heads, epsilon, .. } = config;
        let key = |name: &str| format!("encoder.layer.{layer}.{name}");
        let mut linear = |name: &str, dims| load::linear(weights, &key(name), dims, true, device);
        let projections = [
            linear("attention.self.query", [width; 2])?,
            linear("attention.self.key", [width; 2])?,
            linear("attention.self.value", [width; 2])?,
            linear("attention.output.dense", [width; 2])?,
        ];
        let (to_hidden, output) =
            (linear("intermediate.dense", [width, hidden])?, linear("output.dense", [hidden, width])?);
        let mut norm = |name: &str| load::layer_norm(weights, &key(name), width, epsilon, device);
        Ok(Self {
            attention_norm: norm("attention.output.LayerNorm")?,
            output_norm: norm("output.LayerNorm")?,
            attention: Attention::of(projections, heads),
            hidden: to_hidden,
            output,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use burn::backend::Flex;
    use edge_testing::skip;

    use super::*;
    use crate::model::reference::Reference;
    use crate::model::values::values;

    fn compare(dir: &Path, allowed: f32) {
        let reference = Reference::read(dir);
        let config = BertConfig::read(&dir.join("config.json")).unwrap();
        let net = Bert::<Flex>::load(&dir.join("model.safetensors"), &config, &Default::default()).unwrap();
        let (dims, ids) = reference.ids();
        let ids = Tensor::from_data(TensorData::new(ids, dims), &Default::default());
        reference.expect("token_states", &values(net.forward(ids)), allowed);
    }

    fn tiny() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bert_tiny")
    }

    #[test]
    fn it_agrees_with_transformers() {
        compare(&tiny(), 1e-5);
    }

    /// Compares MiniLM, whose reference `scripts/check_backbone minilm` makes.
    #[test]
    fn minilm_agrees_with_transformers() {
        match std::env::var_os("EDGE_SCORER_BERT_REFERENCE") {
            Some(dir) => compare(Path::new(&dir), 1e-5),
            None => {
                skip("bert::minilm", "scripts/check_backbone minilm makes the reference and passes it to this test")
            }
        }
    }

    #[test]
    fn another_model_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let text = std::fs::read_to_string(tiny().join("config.json")).unwrap();
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{text}");
            std::fs::write(&path, text.replace(from, to)).unwrap();
            BertConfig::read(&path).unwrap_err().to_string()
        };
        assert!(refused("\"bert\"", "\"roberta\"").contains("model_type is \"roberta\"; only \"bert\" is supported"));
        assert!(refused("\"gelu\"", "\"relu\"").contains("hidden_act is \"relu\"; only \"gelu\" is supported"));
        assert!(refused("\"num_attention_heads\": 2", "\"num_attention_heads\": 3").contains("a multiple of"));
    }
}
