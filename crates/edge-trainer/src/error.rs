//! Why a training ends without a bundle.

use std::path::PathBuf;

use super::dataset::DataError;
use super::evaluate::JudgeError;
use super::onnx::OnnxError;
use edge_model::bundle::BundleError;
use edge_model::scorer::ScorerError;
use edge_model::text::TextError;

/// Why a training ends without a bundle. Nothing is left at the output path then.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The options contradict themselves.
    #[error("the options are unusable: {0}")]
    Options(String),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] super::device::DeviceError),
    /// The backbone cannot be used.
    #[error(transparent)]
    Backbone(#[from] super::backbone::BackboneError),
    /// An image that was readable at first no longer is.
    #[error("{}: {reason}. It was readable when the training began: restore it and start again", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The tokenizer cannot be trained.
    #[error("the tokenizer cannot be trained on these tags: {0}")]
    Tokenizer(String),
    /// A tag cannot be encoded.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The loss is not a number any more.
    #[error(
        "the loss became {loss} in epoch {epoch}, step {step}: lower --lr, or look for broken scores. Images of this step: \
         {}", images.join(", ")
    )]
    Diverged {
        /// The loss.
        loss: f64,
        /// The epoch, counted from 1.
        epoch: usize,
        /// The step in it, counted from 1.
        step: usize,
        /// The step's images.
        images: Vec<String>,
    },
    /// Someone asked the training to stop.
    #[error(
        "stopped in epoch {epoch}, step {step}; all of it is kept. Go on with the same command and --resume {}", run.display()
    )]
    Stopped {
        /// The epoch, counted from 1.
        epoch: usize,
        /// Steps of it that are done.
        step: usize,
        /// The run directory.
        run: PathBuf,
    },
    /// A run cannot be gone on with.
    #[error("{}: cannot go on with this run: {reason}. Start it anew without --resume", run.display())]
    Resume {
        /// The run directory.
        run: PathBuf,
        /// Why.
        reason: String,
    },
    /// A graph cannot be written.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The exported graphs do not compute what was trained.
    #[error(
        "the exported graphs do not reproduce the trained network: the {what} differs by {difference:e}, at most {allowed:e} \
         is allowed. No bundle was written; this is a defect of the export, please report it with the run directory"
    )]
    Parity {
        /// What differs.
        what: &'static str,
        /// By how much.
        difference: f32,
        /// How much is allowed.
        allowed: f32,
    },
    /// The bundle cannot be written or was refused by the scorer's own checks.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The scorer refused the finished bundle.
    #[error("the finished bundle does not pass the scorer's own checks: {0}")]
    Scorer(#[from] ScorerError),
    /// The bundle cannot be judged.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// A file of the run cannot be written or read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Something that cannot happen did.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl From<burn::record::RecorderError> for TrainError {
    fn from(e: burn::record::RecorderError) -> Self {
        Self::Internal(format!("weights cannot be brought over: {e}"))
    }
}

impl TrainError {
    /// A closure that makes a [`TrainError::File`] of whatever went wrong with `path`.
    pub(crate) fn file<E: std::fmt::Display>(path: &std::path::Path) -> impl FnOnce(E) -> Self {
        move |e| Self::File { path: path.to_owned(), reason: e.to_string() }
    }
}
