//! The inputs of a training: options, device, encoders, examples, tokenizer and stored features.

use edge_model::bundle::manifest::TextSide;
use edge_model::image_input::InputRule;
use edge_model::text::TagTokenizer;

use crate::backbone::Backbone;
use crate::dataset::Example;
use crate::device::TrainDevice;
use crate::features::{Features, FittedEncoder};
use crate::loader::Loader;
use crate::model::ModelShape;
use crate::model::head::record;
use crate::{Precision, TrainOptions};

/// All inputs of a training.
#[derive(Debug, Clone, Copy)]
pub struct TrainInputs<'a> {
    /// The training options.
    pub options: &'a TrainOptions,
    /// The device that the training runs on.
    pub device: &'a TrainDevice,
    /// The encoders that the training starts from.
    pub backbone: &'a Backbone,
    /// The examples that the weights are trained on.
    pub train: &'a [Example],
    /// The examples that decide when to stop.
    pub validation: &'a [Example],
    /// How images are resized and normalised.
    pub rule: &'a InputRule,
    /// The tokenizer of the tags.
    pub tokenizer: &'a TagTokenizer,
    /// The tag for images without a known tag.
    pub default_tag: &'a str,
    /// Kinds and sizes of the networks, which determine the shapes of the weights.
    pub shape: &'a ModelShape,
    /// SHA-256 over the data sets.
    pub data_sha256: &'a str,
    /// The kernel encoder, fitted before the training.
    pub fitted: Option<&'a FittedEncoder>,
    /// The features of the images, if the image encoder is not trained.
    pub features: Option<Features<'a>>,
}

impl<'a> TrainInputs<'a> {
    /// Whether the training changes the text encoder through losses on the similarity.
    pub(super) fn trains_text(self) -> bool {
        self.backbone.has_text() && record(self.shape.head).text_side != TextSide::Nothing
    }

    /// Whether neither encoder is trained.
    pub(super) fn is_head_only(self) -> bool {
        matches!(self.features, Some(Features::Kept(_)))
    }

    /// Whether matrix products are computed in bfloat16.
    pub(super) fn bf16(self) -> bool {
        self.options.precision.on(self.device) == Precision::Bf16
    }

    pub(super) fn loader(self) -> Loader<'a> {
        Loader { rule: self.rule, features: self.features, threads: self.options.loader_threads }
    }
}
