//! Types of the options whose value is one of a few names.

use std::str::FromStr;

use clap::ValueEnum;
use edge_model::bundle::manifest::HeadKind;
use serde::{Deserialize, Serialize};

use crate::device::TrainDevice;

/// How the head combines image and tag. The aliases are the names in files of earlier versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadName {
    /// The tag's tokens attend to the image's patches
    #[serde(alias = "patch_cross_attention")]
    Patch,
    /// Tokens cut from the tag's embedding attend to tokens cut from the image's
    #[serde(alias = "pooled_cross_attention")]
    Pooled,
    /// The image attends to the tag through a gate that starts closed
    #[serde(alias = "gated_cross_attention")]
    Gated,
    /// The tag computes the weights of a small network over the image embedding
    #[serde(alias = "hyper_network")]
    Hyper,
    /// The tag weights the answers in the image embedding
    #[serde(alias = "weighted_sum")]
    Weighted,
    /// The tag weights the answers in the image embedding; images that show what the tag names get more
    #[serde(alias = "matched_sum")]
    Matched,
    /// The image is scored without the tag
    #[serde(alias = "image_only")]
    ImageOnly,
}

impl From<HeadName> for HeadKind {
    fn from(name: HeadName) -> Self {
        match name {
            HeadName::Patch => Self::PatchCrossAttention,
            HeadName::Pooled => Self::PooledCrossAttention,
            HeadName::Gated => Self::GatedCrossAttention,
            HeadName::Hyper => Self::HyperNetwork,
            HeadName::Weighted => Self::WeightedSum,
            HeadName::Matched => Self::MatchedSum,
            HeadName::ImageOnly => Self::ImageOnly,
        }
    }
}

/// Which weights are trained; written `auto`, `head`, `last:2` or `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Trainable {
    /// Only the weights of the head if the encoders are pretrained, else all.
    #[default]
    Auto,
    /// Only the weights of the head. The images are encoded once and their features are kept.
    Head,
    /// The weights of the head and the end of both encoders: the last N layers and everything behind them.
    Last(usize),
    /// All weights.
    All,
}

impl FromStr for Trainable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not one of auto, head, last:N (N at least 1) and all");
        match text {
            "auto" => Ok(Self::Auto),
            "head" => Ok(Self::Head),
            "all" => Ok(Self::All),
            _ => {
                let layers = text.strip_prefix("last:").and_then(|n| n.parse().ok()).filter(|&n| n > 0);
                layers.map(Self::Last).ok_or_else(wrong)
            }
        }
    }
}

impl TryFrom<String> for Trainable {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Trainable> for String {
    fn from(trainable: Trainable) -> Self {
        match trainable {
            Trainable::Auto => "auto".to_owned(),
            Trainable::Head => "head".to_owned(),
            Trainable::Last(layers) => format!("last:{layers}"),
            Trainable::All => "all".to_owned(),
        }
    }
}

/// Precision of the encoders' matrix products and convolutions in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// bfloat16 on a GPU, 32 bits on the processor.
    #[default]
    #[value(skip)]
    Auto,
    /// 32 bits
    F32,
    /// bfloat16: 16 bits with the range of 32
    Bf16,
}

impl Precision {
    /// Returns the precision on this device, which is never `Auto`.
    #[must_use]
    pub fn on(self, device: &TrainDevice) -> Self {
        match self {
            Self::Auto if device.prefers_bf16() => Self::Bf16,
            Self::Auto => Self::F32,
            given => given,
        }
    }
}
