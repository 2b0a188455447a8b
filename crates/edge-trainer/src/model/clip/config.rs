//! `config.json` of a CLIP model in the Hugging Face layout, as far as it determines the shapes of the networks.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {reason}. A backbone is a Hugging Face CLIP directory with config.json, model.safetensors, \
        tokenizer.json and, optionally, preprocessor_config.json", path.display())]
    Unreadable {
        /// Path of `config.json`.
        path: PathBuf,
        /// The system's message.
        reason: String,
    },
    /// The file's contents cannot be used.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// Path of `config.json`.
        path: PathBuf,
        /// The parser's message, or the value that is not supported.
        reason: String,
    },
}

/// The activation in the perceptrons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`, in OpenAI's CLIP models.
    QuickGelu,
    /// `x * Phi(x)`, in most other CLIP models.
    Gelu,
}

/// The shape of a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TransformerConfig {
    /// Length of a token's vector.
    #[serde(rename = "hidden_size")]
    pub width: usize,
    /// Hidden length of the perceptrons.
    #[serde(rename = "intermediate_size")]
    pub hidden: usize,
    /// Number of layers.
    #[serde(rename = "num_hidden_layers")]
    pub layers: usize,
    /// Attention heads per layer.
    #[serde(rename = "num_attention_heads")]
    pub heads: usize,
    /// Activation function of the perceptrons.
    #[serde(rename = "hidden_act", default = "quick_gelu")]
    pub activation: Activation,
    /// Constant that layer normalisations add to the variance.
    #[serde(rename = "layer_norm_eps", default = "epsilon")]
    pub epsilon: f64,
}

/// Kind and sizes of the image encoder.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// Sizes of the transformer's layers.
    #[serde(flatten)]
    pub transformer: TransformerConfig,
    /// Side of the image, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
}

/// Sizes and special tokens of the text encoder.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TextConfig {
    /// Sizes of the transformer's layers.
    #[serde(flatten)]
    pub transformer: TransformerConfig,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Longest prompt that the encoder takes, in tokens.
    #[serde(rename = "max_position_embeddings", default = "positions")]
    pub positions: usize,
    /// Id of the token that ends a prompt. Many real files have 2, which does not end a text; see [`TextConfig::end_of_text`].
    #[serde(default = "legacy_end")]
    pub eos_token_id: i64,
}

/// Sizes of both encoders and of their embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClipConfig {
    /// Shape of the image encoder.
    #[serde(rename = "vision_config")]
    pub vision: VisionConfig,
    /// Shape of the text encoder.
    #[serde(rename = "text_config")]
    pub text: TextConfig,
    /// Length D of both embeddings.
    #[serde(rename = "projection_dim")]
    pub embedding: usize,
}

/// Value of `eos_token_id` in files that are older than the use of this field by `transformers`.
const LEGACY_END: i64 = 2;

fn quick_gelu() -> Activation {
    Activation::QuickGelu
}

fn epsilon() -> f64 {
    1e-5
}

fn positions() -> usize {
    77
}

fn legacy_end() -> i64 {
    LEGACY_END
}

impl VisionConfig {
    /// Returns the number P of patches.
    pub fn patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }
}

impl TextConfig {
    /// Returns the id of the token that ends a text. The text is pooled at the first occurrence of this id. `None` stands for the highest
    /// id in the text, which is CLIP's end of text; `transformers` also uses the highest id if `eos_token_id` is 2.
    pub fn end_of_text(&self) -> Option<i64> {
        (self.eos_token_id != LEGACY_END).then_some(self.eos_token_id)
    }
}

impl ClipConfig {
    /// Returns the sizes of ViT-B/32, the smallest of OpenAI's CLIP models.
    pub fn vit_b32() -> Self {
        let transformer = |width, heads| TransformerConfig {
            width,
            hidden: 4 * width,
            layers: 12,
            heads,
            activation: quick_gelu(),
            epsilon: epsilon(),
        };
        Self {
            vision: VisionConfig { transformer: transformer(768, 12), image_size: 224, patch_size: 32 },
            text: TextConfig {
                transformer: transformer(512, 8),
                vocab_size: 49408,
                positions: positions(),
                eos_token_id: 49407,
            },
            embedding: 512,
        }
    }

    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError::Unreadable { path: path.to_owned(), reason: e.to_string() })?;
        let unusable = |reason: String| ConfigError::Unusable { path: path.to_owned(), reason };
        let kind: serde_json::Value = serde_json::from_str(&text).map_err(|e| unusable(e.to_string()))?;
        match kind.get("model_type").and_then(serde_json::Value::as_str) {
            Some("clip") => {}
            Some(other) => return Err(unusable(format!("model_type is {other:?}; only \"clip\" is supported"))),
            None => {
                return Err(unusable("model_type is missing, so this is not a Hugging Face configuration".to_owned()));
            }
        }
        let config: Self = serde_json::from_str(&text).map_err(|e| unusable(e.to_string()))?;
        match config.problem() {
            Some(reason) => Err(unusable(reason)),
            None => Ok(config),
        }
    }

    fn problem(&self) -> Option<String> {
        for (name, t) in [("vision_config", self.vision.transformer), ("text_config", self.text.transformer)] {
            if t.layers == 0 || t.heads == 0 || t.hidden == 0 || t.width == 0 || !t.width.is_multiple_of(t.heads) {
                return Some(format!(
                    "{name}: hidden_size {} must be a multiple of num_attention_heads {}, and no size may be 0",
                    t.width, t.heads
                ));
            }
        }
        let VisionConfig { image_size, patch_size, .. } = self.vision;
        if patch_size == 0 || image_size < patch_size {
            return Some(format!(
                "vision_config: image_size {image_size} is smaller than patch_size {patch_size}, or patch_size is 0"
            ));
        }
        if self.text.positions < 3 || self.text.vocab_size < 3 || self.embedding == 0 {
            return Some(
                "max_position_embeddings and vocab_size must be at least 3, projection_dim at least 1".to_owned(),
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"{"model_type": "clip", "projection_dim": 512,
        "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
            "image_size": 224, "patch_size": 32, "num_channels": 3},
        "text_config": {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8,
            "vocab_size": 49408, "hidden_act": "gelu", "eos_token_id": 49407}}"#;

    fn read(text: &str) -> Result<ClipConfig, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        ClipConfig::read(&path)
    }

    #[test]
    fn a_configuration_is_read_with_what_it_leaves_out() {
        let config = read(BASE).unwrap();
        assert_eq!((config.vision.patches(), config.text.positions, config.embedding), (49, 77, 512));
        assert_eq!(config.vision.transformer.activation, Activation::QuickGelu);
        assert_eq!(config.text.transformer.activation, Activation::Gelu);
        assert_eq!(config.text.end_of_text(), Some(49407));
        let usual = read(&BASE.replace("\"hidden_act\": \"gelu\", ", "")).unwrap();
        assert_eq!(usual, ClipConfig::vit_b32());
        assert_eq!(read(&BASE.replace("49407", "2")).unwrap().text.end_of_text(), None);
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let message = |from: &str, to: &str| read(&BASE.replace(from, to)).unwrap_err().to_string();
        assert!(message("\"clip\"", "\"siglip\"").contains("model_type is \"siglip\""));
        assert!(
            message("\"num_attention_heads\": 8", "\"num_attention_heads\": 7")
                .contains("text_config: hidden_size 512")
        );
        assert!(message("\"gelu\"", "\"relu\"").contains("relu"));
        assert!(message("\"patch_size\": 32, ", "").contains("patch_size"));
        assert!(
            message("\"image_size\": 224", "\"image_size\": 16")
                .contains("image_size 16 is smaller than patch_size 32")
        );
        let gone = ClipConfig::read(Path::new("/nowhere/config.json")).unwrap_err().to_string();
        assert!(gone.contains("a Hugging Face CLIP directory") || gone.contains("A backbone is"), "{gone}");
    }
}
