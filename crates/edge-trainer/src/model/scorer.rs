//! The whole model: image encoder, text encoder, head, and the alignment scale that only training needs.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::backbone::{ImageBackbone, SilentText, TextBackbone, TextOutput};
use super::clip::ClipConfig;
use super::efficientnet::{EfficientNet, EfficientNetShape};
use super::head::{Head, HeadShape};
use super::kernel_encoder::{CONTENT, EncoderFit, KernelEncoder, MAX_ANSWERS, embedding_length};
use super::text_encoder::TextShape;
use super::token_means::TokenMeans;
use super::{EMBEDDING, TextEncoder};
use edge_model::bundle::manifest::HeadKind;

/// Kinds and sizes of the networks, which determine the shapes of the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Kinds and sizes of the encoders.
    pub backbone: BackboneShape,
    /// How the head combines image and text.
    pub head: HeadKind,
    /// Length T of a padded prompt, in tokens.
    pub context_length: usize,
    /// Share of the activations that dropout sets to zero in training.
    pub dropout: f64,
}

/// Kinds and sizes of both encoders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackboneShape {
    /// `small-kernel` and `small-transformer`.
    Small(SmallShape),
    /// CLIP's two encoders.
    Clip(ClipConfig),
    /// EfficientNet-B0 without a text side.
    EfficientnetB0,
    /// A kernel encoder with an EfficientNet-Lite, and a table of tokens' vectors.
    Lite(LiteShape),
}

/// A published EfficientNet-Lite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LiteNetwork {
    /// The smallest network, of 4.7 million weights.
    Lite0,
    /// A network of 6.1 million weights.
    Lite2,
}

impl LiteNetwork {
    /// Name of the network, of its backbone and of the directory with its weights.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lite0 => "efficientnet-lite0",
            Self::Lite2 => "efficientnet-lite2",
        }
    }

    /// Channels, strides and numbers of blocks.
    pub fn shape(self) -> EfficientNetShape {
        match self {
            Self::Lite0 => EfficientNetShape::lite0(),
            Self::Lite2 => EfficientNetShape::lite2(),
        }
    }
}

/// Shapes of the encoders that are built on an EfficientNet-Lite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiteShape {
    /// The network.
    pub network: LiteNetwork,
    /// Number of tokens in the tokenizer's vocabulary.
    pub vocabulary: usize,
    /// The id of the padding token.
    pub pad_id: i64,
}

/// Shapes of the small encoders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmallShape {
    /// Number of tokens in the tokenizer's vocabulary.
    pub vocabulary: usize,
    /// The id of the padding token.
    pub pad_id: i64,
    /// Width of the text encoder: the length of a token's vector.
    pub text_width: usize,
    /// Number of layers of the text encoder.
    pub text_layers: usize,
}

impl BackboneShape {
    /// Names of the image encoder and of the text encoder in manifests.
    pub fn names(&self) -> [String; 2] {
        match self {
            Self::Small(_) => ["small-kernel", "small-transformer"].map(str::to_owned),
            Self::Clip(config) => {
                let (patch, vision) = (config.vision.patch_size, config.vision.transformer);
                let image = format!("clip-vit-{}x{}-{patch}", vision.layers, vision.width);
                let text = config.text.transformer;
                [image, format!("clip-text-{}x{}", text.layers, text.width)]
            }
            Self::EfficientnetB0 => ["efficientnet-b0", "none"].map(str::to_owned),
            Self::Lite(lite) => [format!("{}-kernel", lite.network.name()), "token-means".to_owned()],
        }
    }
}

impl ModelShape {
    /// Length D of image embeddings.
    pub fn embedding(&self) -> usize {
        match &self.backbone {
            BackboneShape::Small(_) => EMBEDDING,
            BackboneShape::Clip(config) => config.embedding,
            BackboneShape::EfficientnetB0 => EfficientNetShape::b0().embedding,
            BackboneShape::Lite(_) => embedding_length(true),
        }
    }

    /// Length E of text embeddings.
    pub fn text_embedding(&self) -> usize {
        if matches!(self.backbone, BackboneShape::Lite(_)) { CONTENT } else { self.embedding() }
    }

    /// Sizes of the head's inputs.
    pub fn head_shape(&self) -> HeadShape {
        let (patches, tokens) = match &self.backbone {
            BackboneShape::Clip(config) => (
                [config.vision.patches(), config.vision.transformer.width],
                [self.context_length, config.text.transformer.width],
            ),
            BackboneShape::Lite(_) => ([0, 0], [self.context_length, CONTENT]),
            BackboneShape::Small(_) | BackboneShape::EfficientnetB0 => ([0, 0], [0, 0]),
        };
        let answers = match &self.backbone {
            BackboneShape::Small(_) => [0, MAX_ANSWERS],
            BackboneShape::Lite(_) => [CONTENT, MAX_ANSWERS],
            BackboneShape::Clip(_) | BackboneShape::EfficientnetB0 => [0, 0],
        };
        let (embedding, text) = (self.embedding(), self.text_embedding());
        HeadShape { embedding, text, patches, tokens, answers }
    }
}

/// Predicts a human alignment rating from the similarity: `gain * similarity + offset`. Training fits the similarity to the ratings
/// through it; it is not exported.
#[derive(Module, Debug)]
pub struct AlignmentScale<B: Backend> {
    gain: Param<Tensor<B, 1>>,
    offset: Param<Tensor<B, 1>>,
}

impl<B: Backend> AlignmentScale<B> {
    fn new(device: &B::Device) -> Self {
        let gain = Param::from_tensor(Tensor::ones([1], device));
        Self { gain, offset: Param::from_tensor(Tensor::zeros([1], device)) }
    }

    /// `similarity [N]` -> standardised alignment `[N]`.
    pub fn forward(&self, similarity: Tensor<B, 1>) -> Tensor<B, 1> {
        similarity * self.gain.val() + self.offset.val()
    }
}

/// Image encoder, text encoder and head.
#[derive(Module, Debug)]
pub struct TagScorer<B: Backend> {
    /// Encodes the pixels of images.
    pub image: ImageBackbone<B>,
    /// Encodes the prompts of tags.
    pub text: TextBackbone<B>,
    /// Computes the score from an encoded image and an encoded tag.
    pub head: Head<B>,
    /// Converts the similarity to an alignment rating.
    pub alignment: AlignmentScale<B>,
}

impl<B: Backend> TagScorer<B> {
    /// A model of the given encoders, with a new head that has random weights.
    pub fn on(encoders: (ImageBackbone<B>, TextBackbone<B>), shape: &ModelShape, device: &B::Device) -> Self {
        let (image, text) = encoders;
        let head = Head::new(shape.head, shape.head_shape(), shape.dropout, device);
        Self { image, text, head, alignment: AlignmentScale::new(device) }
    }

    /// A model with random weights; `None` if the encoders' weights must come from a file.
    pub fn fresh(shape: &ModelShape, device: &B::Device) -> Option<Self> {
        let encoders = match &shape.backbone {
            BackboneShape::Small(small) => {
                let text = TextShape {
                    vocabulary: small.vocabulary,
                    context_length: shape.context_length,
                    pad_id: small.pad_id,
                    width: small.text_width,
                    layers: small.text_layers,
                    heads: 4,
                };
                let image = KernelEncoder::unfitted(None, device);
                (ImageBackbone::Kernel(image), TextBackbone::Small(TextEncoder::new(text, shape.dropout, device)))
            }
            BackboneShape::EfficientnetB0 => {
                let net = EfficientNet::new(&EfficientNetShape::b0(), device);
                let text = SilentText::new(shape.embedding(), device);
                (ImageBackbone::EfficientNet(net), TextBackbone::Silent(text))
            }
            BackboneShape::Clip(_) | BackboneShape::Lite(_) => return None,
        };
        Some(Self::on(encoders, shape, device))
    }

    /// The same model with the fitted values of its encoders.
    pub fn with_fit(self, fit: &EncoderFit, text: Option<TokenMeans<B>>, device: &B::Device) -> Self {
        let image = match self.image {
            ImageBackbone::Kernel(encoder) => ImageBackbone::Kernel(encoder.with_fit(fit, device)),
            other => other,
        };
        Self { image, text: text.map_or(self.text, TextBackbone::Means), ..self }
    }

    /// Encodes prompts, each padded to T ids.
    pub fn embed_texts(&self, ids: &[Vec<i64>], device: &B::Device) -> TextOutput<B> {
        let length = ids.first().map_or(0, Vec::len);
        let flat: Vec<i64> = ids.concat();
        let tensor = Tensor::<B, 1, Int>::from_data(flat.as_slice(), device).reshape([ids.len(), length]);
        self.text.forward(tensor)
    }
}

/// Number of learned values in the encoders and the head.
pub fn parameters<B: Backend>(model: &TagScorer<B>) -> u64 {
    (model.image.num_params() + model.text.num_params() + model.head.num_params()) as u64
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::model::ops::Compute;
    use crate::model::values::values;

    #[test]
    fn padding_does_not_reach_the_text_embedding() {
        let device = Default::default();
        let shape = TextShape { vocabulary: 20, context_length: 6, pad_id: 0, width: 16, layers: 2, heads: 4 };
        let text = TextEncoder::<Flex>::new(shape, 0.1, &device);
        let embed_with = |text: &TextEncoder<Flex>, ids: [i64; 6]| {
            values(text.forward(&mut Compute::<Flex>::new(device), Tensor::from_data([ids], &device)))
        };
        let embed = |ids| embed_with(&text, ids);
        let before = embed([1, 7, 2, 0, 0, 0]);
        // The padding token's embedding is looked up, but attention masks it.
        let mut changed = text.clone();
        changed.overwrite_token(0, 5.0);
        let after = embed_with(&changed, [1, 7, 2, 0, 0, 0]);
        assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!(embed([1, 8, 2, 0, 0, 0]) != before);
    }

    #[test]
    fn a_shape_survives_its_own_file() {
        let small = SmallShape { vocabulary: 50, pad_id: 0, text_width: 16, text_layers: 1 };
        let tiny = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/clip_tiny/config.json");
        let clip = ClipConfig::read(&tiny).unwrap();
        for backbone in [
            BackboneShape::Small(small),
            BackboneShape::Clip(clip),
            BackboneShape::EfficientnetB0,
            BackboneShape::Lite(LiteShape { network: LiteNetwork::Lite2, vocabulary: 30522, pad_id: 0 }),
        ] {
            let shape = ModelShape { backbone, head: HeadKind::HyperNetwork, context_length: 8, dropout: 0.1 };
            let json = serde_json::to_string(&shape).unwrap();
            assert_eq!(serde_json::from_str::<ModelShape>(&json).unwrap(), shape, "{json}");
        }
    }
}
