//! The plan of a fit: request, device, backbone, network shapes, tokenizer and divided data.

use edge_model::text::TagTokenizer;

use super::request::FitRequest;
use crate::assemble::Provenance;
use crate::backbone::Backbone;
use crate::dataset::{Example, Parts};
use crate::device::TrainDevice;
use crate::model::ModelShape;

/// The plan of a fit: request, device, backbone, network shapes, tokenizer and divided data. It is complete before the
/// training starts, and holds no weights.
pub(super) struct FitPlan<'a> {
    pub(super) request: &'a FitRequest,
    /// The device that the training runs on.
    pub(super) device: TrainDevice,
    /// The encoders that the training starts from.
    pub(super) backbone: Backbone,
    /// SHA-256 of the encoders' weights before the training; empty for random weights.
    pub(super) backbone_sha256: String,
    /// Kinds and sizes of the networks, which determine the shapes of the weights.
    pub(super) shape: ModelShape,
    /// The examples, divided into training, validation and test parts.
    pub(super) parts: &'a Parts,
    /// The training and validation examples whose images are the reference images of percentiles.
    pub(super) reference: Vec<Example>,
    /// The description of data and options for the manifest.
    pub(super) provenance: &'a Provenance,
    pub(super) tokenizer: &'a TagTokenizer,
    /// Text of `tokenizer.json`, which the bundle contains.
    pub(super) tokenizer_json: &'a str,
}
