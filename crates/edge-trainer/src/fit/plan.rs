//! Everything that is known before the training starts.

use edge_model::text::TagTokenizer;

use super::request::FitRequest;
use crate::assemble::Provenance;
use crate::backbone::Backbone;
use crate::dataset::{Example, Parts};
use crate::device::TrainDevice;
use crate::model::ModelShape;

/// Everything that is known before the training starts, apart from the weights.
pub(super) struct FitPlan<'a> {
    pub(super) request: &'a FitRequest,
    /// Where to train.
    pub(super) device: TrainDevice,
    /// The encoders.
    pub(super) backbone: Backbone,
    /// Digest of the encoders' weights.
    pub(super) backbone_sha256: String,
    /// Shapes of the weights.
    pub(super) shape: ModelShape,
    /// The divided data.
    pub(super) parts: &'a Parts,
    /// The training and validation examples to which percentiles refer.
    pub(super) reference: Vec<Example>,
    /// The description of data and options for the manifest.
    pub(super) provenance: &'a Provenance,
    pub(super) tokenizer: &'a TagTokenizer,
    /// The tokenizer's file.
    pub(super) tokenizer_json: &'a str,
}
