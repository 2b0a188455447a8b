//! The names of an EfficientNet's parts in the weight files of timm and torchvision.

use super::norm_conv::NormConvKeys;
use crate::weights::Weights;

/// The library whose names a weight file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Names as in timm.
    Timm,
    /// Names as in torchvision.
    Torchvision,
}

/// The names of a block's parts.
#[derive(Debug, Clone)]
pub struct BlockKeys {
    /// The expansion; `None` for the first stage, which does not expand.
    pub expand: Option<NormConvKeys>,
    /// The depthwise convolution and its normalisation.
    pub depthwise: NormConvKeys,
    /// Name of the squeeze, without `.weight` and `.bias`.
    pub squeeze: String,
    /// Name of the excitation, without `.weight` and `.bias`.
    pub excite: String,
    /// The projection to the output channels, and its normalisation.
    pub project: NormConvKeys,
}

impl Layout {
    /// Returns the layout of the names in a weight file: torchvision's if its first convolution is there, else timm's. Errors about a
    /// file with unknown names therefore give timm's name of the missing tensor.
    pub fn of(weights: &Weights<'_>) -> Self {
        if weights.has("features.0.0.weight") { Self::Torchvision } else { Self::Timm }
    }

    /// Returns the names of the network's first convolution.
    pub fn stem(self) -> NormConvKeys {
        match self {
            Self::Timm => keys("conv_stem", "bn1"),
            Self::Torchvision => keys("features.0.0", "features.0.1"),
        }
    }

    /// Returns the names of the network's last convolution.
    pub fn head(self) -> NormConvKeys {
        match self {
            Self::Timm => keys("conv_head", "bn2"),
            Self::Torchvision => keys("features.8.0", "features.8.1"),
        }
    }

    /// Returns the names of block `number` of `stage`, both counted from 0.
    pub fn block(self, stage: usize, number: usize) -> BlockKeys {
        let expands = stage > 0;
        match self {
            Self::Timm => {
                let at = |name: &str| format!("blocks.{stage}.{number}.{name}");
                let pair = |conv: &str, norm: &str| keys(&at(conv), &at(norm));
                BlockKeys {
                    expand: expands.then(|| pair("conv_pw", "bn1")),
                    depthwise: if expands { pair("conv_dw", "bn2") } else { pair("conv_dw", "bn1") },
                    squeeze: at("se.conv_reduce"),
                    excite: at("se.conv_expand"),
                    project: if expands { pair("conv_pwl", "bn3") } else { pair("conv_pw", "bn2") },
                }
            }
            Self::Torchvision => {
                let at = |part: usize, name: &str| format!("features.{}.{number}.block.{part}.{name}", stage + 1);
                let pair = |part: usize| keys(&at(part, "0"), &at(part, "1"));
                let first = usize::from(expands);
                BlockKeys {
                    expand: expands.then(|| pair(0)),
                    depthwise: pair(first),
                    squeeze: at(first + 1, "fc1"),
                    excite: at(first + 1, "fc2"),
                    project: pair(first + 2),
                }
            }
        }
    }
}

fn keys(conv: &str, norm: &str) -> NormConvKeys {
    NormConvKeys { conv: conv.to_owned(), norm: norm.to_owned() }
}
