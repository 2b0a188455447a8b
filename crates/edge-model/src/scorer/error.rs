//! The scorer's error type.

use crate::backend::BackendError;
use crate::bundle::BundleError;
use crate::image_input::ImageError;
use crate::text::TextError;

/// Why a model cannot be used, or an image or a tag cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScorerError {
    /// The bundle was refused.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The device was refused or failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A tag cannot be encoded.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A golden image cannot be decoded.
    #[error("golden image {name}: {source}. Copy the bundle again from the original")]
    GoldenImage {
        /// The image's file name in the bundle.
        name: String,
        /// Why it cannot be decoded.
        source: ImageError,
    },
    /// A graph returned a tensor of another shape than the manifest implies.
    #[error(
        "{graph} returned a tensor of shape {found:?} instead of {expected:?}: the graph does not match the manifest. Copy the \
         bundle again from the original"
    )]
    Shape {
        /// File name of the graph, such as `image_encoder.onnx`.
        graph: &'static str,
        /// The shape of the tensor.
        found: Vec<usize>,
        /// The shape that the manifest implies.
        expected: Vec<usize>,
    },
    /// The head reads patch tokens and was given only a stored embedding.
    #[error(
        "this model reads the image itself for every tag, so a stored embedding is not enough: name the tag before the images \
         are scored, with --tag or in the list \"always\" under [tags] in the configuration"
    )]
    NeedsImage,
    /// The device returned another result for the known answer's input than when it was proved.
    #[error(
        "{device} returned a wrong result: the output of {graph} for a golden input differs from the known answer by \
         {difference:.3e}; at most {allowed:.3e} is allowed"
    )]
    WrongAnswer {
        /// File name of the graph, such as `image_encoder.onnx`.
        graph: &'static str,
        /// Name of the device, such as `cuda`.
        device: &'static str,
        /// The largest difference from the known answer, in the unit of the goldens' tolerance.
        difference: f32,
        /// The largest difference allowed.
        allowed: f32,
    },
    /// The device failed twice, and no other device is allowed or able to take over.
    #[error(
        "{device} failed and no other device can take over: {reason}. Look for errors of the device with `dmesg`, or score \
         on another device"
    )]
    DeviceFailed {
        /// Name of the device, such as `cuda`.
        device: &'static str,
        /// Message of the second failure, followed by the CPU's message if the CPU was tried.
        reason: String,
    },
    /// A score, a similarity or an embedding is NaN or infinite.
    #[error(
        "{0} is not finite: the model cannot score this input, so nothing is recorded for it. If many inputs fail, test the \
         model with `edge-scorer doctor`"
    )]
    NotFinite(&'static str),
}

impl ScorerError {
    /// Whether the device may be the cause of the error. If it is, another device may succeed.
    pub(super) fn may_be_the_devices(&self) -> bool {
        matches!(self, Self::Backend(_) | Self::WrongAnswer { .. } | Self::NotFinite(_))
    }
}

/// Returns [`ScorerError::NotFinite`] if any value is NaN or infinite; `what` names the values in the message.
pub(super) fn finite<'a>(mut values: impl Iterator<Item = &'a f32>, what: &'static str) -> Result<(), ScorerError> {
    if values.all(|v| v.is_finite()) { Ok(()) } else { Err(ScorerError::NotFinite(what)) }
}
