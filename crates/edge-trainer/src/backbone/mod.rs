//! The encoders that a training builds on: their weights, the preprocessing of images and tags, and the networks
//! themselves.

mod drawn;
mod input_rule;
mod lite;

use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend as BurnBackend;
pub use drawn::draw_clip;
use tokenizers::Tokenizer;

use crate::TrainOptions;
use crate::message::Listener;
use crate::model::clip::{self, ClipConfig, ConfigError};
use crate::model::efficientnet::{EfficientNet, EfficientNetShape};
use crate::model::kernel_encoder::{CONTENT, KernelEncoder};
use crate::model::{
    BackboneShape, ImageBackbone, LiteNetwork, LiteShape, ModelShape, SilentText, SmallShape, TagScorer, TextBackbone,
    TokenMeans,
};
use crate::tokenizer::{self, CLIP_END, MARKS, PAD_ID, TokenizerError};
use crate::training::KnownContent;
use crate::weights::WeightError;
use crate::words::WordError;
use edge_model::bundle::manifest::HeadKind;
use edge_model::bundle::sha256_hex;
use edge_model::image_input::InputRule;
use edge_model::text::{TagTokenizer, TextError, TextRule};

/// Reason why a backbone cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// The name is neither a known backbone nor a directory.
    #[error(
        "--backbone {name}: neither small, efficientnet-lite0, efficientnet-lite2 or efficientnet-b0, nor a directory. A \
         directory must hold config.json and model.safetensors of a CLIP model in the Hugging Face layout, or of timm's \
         efficientnet_b0"
    )]
    Unknown {
        /// The name given to `--backbone`.
        name: String,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The meanings of words cannot be computed.
    #[error(transparent)]
    Word(#[from] WordError),
    /// A file other than the configuration and the weights cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Why it cannot be read, or what is wrong in it.
        reason: String,
    },
    /// The tokenizer cannot be trained.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The parts of a backbone are not in their place.
    #[error(
        "--backbone {name} needs {}, which does not exist. scripts/fetch_backbones fetches all parts; --parts names the \
         directory that they are in",
        path.display()
    )]
    Parts {
        /// Name of the backbone.
        name: &'static str,
        /// Path of the missing file.
        path: PathBuf,
    },
    /// The rule that makes prompts from tags is invalid.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A bug in this program.
    #[error("internal error: {0}; please report it")]
    Internal(&'static str),
}

/// The encoders that a training builds on.
#[derive(Debug, Clone, PartialEq)]
pub enum Backbone {
    /// The project's own small encoders, with random weights.
    Small,
    /// EfficientNet-B0, with random weights or weights from a file.
    EfficientNetB0 {
        /// Path of a safetensors file; `None` for random weights.
        weights: Option<PathBuf>,
    },
    /// EfficientNet-Lite, trained on ImageNet, and a text side of MiniLM's tokens and WordNet's words.
    Lite {
        /// The network.
        network: LiteNetwork,
        /// Directory with the parts that `scripts/fetch_backbones` fetches.
        parts: PathBuf,
    },
    /// A CLIP model in the Hugging Face layout.
    Clip {
        /// Directory with `config.json`, `model.safetensors` and `tokenizer.json`.
        dir: PathBuf,
        /// The shape of the encoders.
        config: ClipConfig,
        /// The rule that makes the image encoder's input from an image.
        rule: InputRule,
    },
}

impl Backbone {
    /// Returns the backbone that `name` names: `small`, `efficientnet-lite0`, `efficientnet-lite2`, `efficientnet-b0`, or a directory.
    /// `parts` is the directory with fetched parts.
    ///
    /// # Errors
    /// [`BackboneError`].
    pub fn find(name: &str, parts: &Path) -> Result<Self, BackboneError> {
        match name {
            "small" => return Ok(Self::Small),
            "efficientnet-lite0" => return lite::find(LiteNetwork::Lite0, parts),
            "efficientnet-lite2" => return lite::find(LiteNetwork::Lite2, parts),
            "efficientnet-b0" => return Ok(Self::EfficientNetB0 { weights: None }),
            _ => {}
        }
        let dir = PathBuf::from(name);
        if !dir.is_dir() {
            return Err(BackboneError::Unknown { name: name.to_owned() });
        }
        let path = dir.join("config.json");
        if is_timm_b0(&path) {
            return Ok(Self::EfficientNetB0 { weights: Some(dir.join(WEIGHTS)) });
        }
        let config = ClipConfig::read(&path)?;
        let rule = input_rule::clip(&dir.join("preprocessor_config.json"), &config)?;
        Ok(Self::Clip { dir, config, rule })
    }

    /// Whether the image encoder is fitted in closed form before the training.
    pub fn is_fitted(&self) -> bool {
        matches!(self, Self::Small | Self::Lite { .. })
    }

    /// Whether the weights come from a file.
    pub fn is_trained(&self) -> bool {
        matches!(self, Self::Clip { .. } | Self::EfficientNetB0 { weights: Some(_) })
    }

    /// Whether the similarity of image and text embeddings is meaningful before the training.
    pub fn knows_similarity(&self) -> bool {
        matches!(self, Self::Clip { .. } | Self::Lite { .. })
    }

    /// Whether the backbone has a text encoder that can be trained.
    pub fn has_text(&self) -> bool {
        matches!(self, Self::Small | Self::Clip { .. })
    }

    /// The default head of a model with this backbone.
    pub fn default_head(&self) -> HeadKind {
        match self {
            Self::Small => HeadKind::WeightedSum,
            Self::Lite { .. } => HeadKind::MatchedSum,
            Self::EfficientNetB0 { .. } => HeadKind::ImageOnly,
            Self::Clip { .. } => HeadKind::PatchCrossAttention,
        }
    }

    /// The image encoder's input rule.
    pub fn input_rule(&self, options: &TrainOptions) -> InputRule {
        match self {
            Self::Small => input_rule::small(options),
            Self::EfficientNetB0 { weights } => input_rule::efficientnet(weights.is_some(), options),
            Self::Lite { .. } => input_rule::lite(options),
            Self::Clip { rule, .. } => rule.clone(),
        }
    }

    /// Returns the tokenizer, the text of its file, and its number of tokens. CLIP has its own tokenizer; for the other
    /// backbones a tokenizer is trained on the tags `texts`.
    ///
    /// # Errors
    /// [`BackboneError::Tokenizer`], [`BackboneError::File`], [`BackboneError::Text`].
    pub fn tokenizer(
        &self,
        options: &TrainOptions,
        texts: &[String],
    ) -> Result<(TagTokenizer, String, usize), BackboneError> {
        if let Self::Lite { parts, .. } = self {
            return lite::tokenizer(parts, options);
        }
        let Self::Clip { dir, config, .. } = self else {
            let learned = tokenizer::train(texts, options.vocabulary, MARKS)?;
            let json = learned.to_string(true).map_err(TokenizerError::from)?;
            let size = learned.get_vocab_size(true);
            let rule = TextRule {
                template: template(options, "{tag}"),
                context_length: options.context_length,
                pad_id: PAD_ID,
                whole_words: false,
            };
            return Ok((TagTokenizer::new(learned, rule)?, json, size));
        };
        let path = dir.join("tokenizer.json");
        let fail = |reason: String| BackboneError::File { path: path.clone(), reason };
        let json = std::fs::read_to_string(&path).map_err(|e| fail(format!("cannot be read: {e}")))?;
        let tokenizer: Tokenizer = json.parse().map_err(|e| fail(format!("not a tokenizer file: {e}")))?;
        let end =
            tokenizer.token_to_id(CLIP_END).ok_or_else(|| fail(format!("the tokenizer has no token {CLIP_END}")))?;
        let size = tokenizer.get_vocab_size(true);
        if size > config.text.vocab_size {
            let known = config.text.vocab_size;
            return Err(fail(format!("the tokenizer has {size} tokens, but vocab_size in config.json is {known}")));
        }
        let context_length = options.context_length.min(config.text.positions);
        let template = template(options, "a photo of {tag}");
        let rule = TextRule { template, context_length, pad_id: i64::from(end), whole_words: false };
        Ok((TagTokenizer::new(tokenizer, rule)?, json, size))
    }

    /// The shapes of the model's weights.
    pub fn shape(&self, options: &TrainOptions, tokenizer: &TagTokenizer, vocabulary: usize) -> ModelShape {
        let backbone = match self {
            Self::Small => BackboneShape::Small(SmallShape {
                vocabulary,
                pad_id: tokenizer.rule().pad_id,
                text_width: options.text_width,
                text_layers: options.text_layers,
            }),
            Self::EfficientNetB0 { .. } => BackboneShape::EfficientnetB0,
            Self::Clip { config, .. } => BackboneShape::Clip(*config),
            Self::Lite { network, .. } => {
                BackboneShape::Lite(LiteShape { network: *network, vocabulary, pad_id: tokenizer.rule().pad_id })
            }
        };
        ModelShape {
            backbone,
            head: options.head.map_or_else(|| self.default_head(), HeadKind::from),
            context_length: tokenizer.rule().context_length,
            dropout: options.dropout,
        }
    }

    /// Returns a model with the backbone's encoders and weights. The weights of the head are random.
    ///
    /// # Errors
    /// [`BackboneError::Weights`].
    pub fn model<B: BurnBackend>(&self, shape: &ModelShape, device: &B::Device) -> Result<TagScorer<B>, BackboneError> {
        let encoders = match self {
            Self::Clip { dir, config, .. } => {
                let (vision, text) = clip::load(&dir.join(WEIGHTS), config, device)?;
                (ImageBackbone::Clip(vision), TextBackbone::Clip(text))
            }
            Self::EfficientNetB0 { weights: Some(path) } => {
                let net = EfficientNet::load(path, &EfficientNetShape::b0(), device)?;
                (ImageBackbone::EfficientNet(net), TextBackbone::Silent(SilentText::new(shape.embedding(), device)))
            }
            Self::Lite { network, parts } => {
                let BackboneShape::Lite(LiteShape { vocabulary, pad_id, .. }) = shape.backbone else {
                    return Err(BackboneError::Internal("the shape belongs to another backbone"));
                };
                let image = KernelEncoder::unfitted(Some(lite::network(*network, parts, device)?), device);
                // Zero until the fit brings the vectors; see `training`.
                let text = TokenMeans::new(&vec![0.0; vocabulary * CONTENT], CONTENT, pad_id, device);
                (ImageBackbone::Kernel(image), TextBackbone::Means(text))
            }
            Self::Small | Self::EfficientNetB0 { weights: None } => {
                let error = BackboneError::Internal("the shape belongs to another backbone");
                return TagScorer::fresh(shape, device).ok_or(error);
            }
        };
        Ok(TagScorer::on(encoders, shape, device))
    }

    /// Loads what a kernel encoder is fitted with besides images; `None` for backbones that need nothing. `cache` keeps what takes long.
    ///
    /// # Errors
    /// [`BackboneError::Weights`], [`BackboneError::Word`].
    pub fn known_content(
        &self,
        cache: &Path,
        listener: &mut dyn Listener,
    ) -> Result<Option<KnownContent>, BackboneError> {
        let Self::Lite { network, parts } = self else { return Ok(None) };
        let words = lite::meanings(parts, cache, listener)?;
        Ok(Some(KnownContent { network: lite::network(*network, parts, &Default::default())?, words }))
    }

    /// SHA-256 of the weight file in hexadecimal digits; empty for random weights.
    ///
    /// # Errors
    /// [`BackboneError::File`].
    pub fn digest(&self) -> Result<String, BackboneError> {
        let path = match self {
            Self::Clip { dir, .. } => dir.join(WEIGHTS),
            Self::EfficientNetB0 { weights: Some(path) } => path.clone(),
            Self::Lite { network, parts } => lite::weights(*network, parts),
            Self::Small | Self::EfficientNetB0 { weights: None } => return Ok(String::new()),
        };
        let bytes =
            std::fs::read(&path).map_err(|e| BackboneError::File { path, reason: format!("cannot be read: {e}") })?;
        Ok(sha256_hex(&bytes))
    }
}

/// Name of the weight file in a backbone's directory.
const WEIGHTS: &str = "model.safetensors";
fn template(options: &TrainOptions, default: &str) -> String {
    if options.template.is_empty() { default.to_owned() } else { options.template.clone() }
}

fn is_timm_b0(config: &Path) -> bool {
    let read = || serde_json::from_slice::<serde_json::Value>(&std::fs::read(config).ok()?).ok();
    read().is_some_and(|c| c.get("architecture").and_then(serde_json::Value::as_str) == Some("efficientnet_b0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_directories_are_told_apart() {
        assert_eq!(Backbone::find("small", Path::new("")).unwrap(), Backbone::Small);
        let message = Backbone::find("vit-b32", Path::new("")).unwrap_err().to_string();
        assert!(message.starts_with("--backbone vit-b32: neither small, efficientnet-lite0, "), "{message}");
        let missing = Backbone::find("efficientnet-lite2", Path::new("nowhere")).unwrap_err().to_string();
        assert!(missing.contains("needs nowhere/efficientnet-lite2/model.pth, which does not exist"), "{missing}");
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().to_str().unwrap();
        assert!(Backbone::find(name, Path::new("")).unwrap_err().to_string().contains("config.json: cannot be read"));
        std::fs::write(dir.path().join("config.json"), r#"{"architecture": "efficientnet_b0"}"#).unwrap();
        assert!(Backbone::find(name, Path::new("")).unwrap().is_trained());
    }

    #[test]
    fn efficientnet_from_scratch_learns_the_size_that_is_asked_for() {
        let options = |crop_px| TrainOptions { crop_px: Some(crop_px), ..TrainOptions::default() };
        let sizes = |weights: Option<PathBuf>, crop_px| {
            let rule = Backbone::EfficientNetB0 { weights }.input_rule(&options(crop_px));
            [rule.size_px, rule.resize_short_px]
        };
        assert_eq!(sizes(None, 224), [224, 256]);
        assert_eq!(sizes(None, 112), [112, 128]);
        assert_eq!(sizes(Some("b0.safetensors".into()), 112), [224, 256]);
    }

    #[test]
    fn the_preprocessing_of_a_clip_directory_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/clip_tiny/config.json");
        std::fs::copy(config, dir.path().join("config.json")).unwrap();
        let find = || Backbone::find(dir.path().to_str().unwrap(), Path::new(""));
        let rule = |b: Backbone| b.input_rule(&TrainOptions::default());
        let usual = rule(find().unwrap());
        assert_eq!((usual.size_px, usual.resize_short_px, usual.mean), (24, 24, input_rule::CLIP.0));
        let write = |text: &str| std::fs::write(dir.path().join("preprocessor_config.json"), text).unwrap();
        write(
            r#"{"size": {"shortest_edge": 30}, "crop_size": {"height": 24, "width": 24}, "image_mean": [0.1, 0.2, 0.3],
                "image_std": [1, 1, 1], "resample": 3, "do_resize": true}"#,
        );
        let read = rule(find().unwrap());
        assert_eq!((read.size_px, read.resize_short_px, read.mean), (24, 30, [0.1, 0.2, 0.3]));
        write(r#"{"size": 24, "crop_size": 24, "image_mean": [0, 0, 0], "image_std": [1, 1, 1], "resample": 2}"#);
        assert!(find().unwrap_err().to_string().contains("resample 2 is not bicubic"));
        write(r#"{"size": 24, "crop_size": 20, "image_mean": [0, 0, 0], "image_std": [1, 1, 1], "resample": 3}"#);
        assert!(
            find()
                .unwrap_err()
                .to_string()
                .contains("crop_size 20 and size 24 do not fit image_size 24 in config.json")
        );
    }
}
