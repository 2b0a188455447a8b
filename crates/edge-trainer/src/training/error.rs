//! Why a training ends without weights.

use std::path::PathBuf;

use burn::record::RecorderError;
use edge_model::backend::BackendError;
use edge_model::text::TextError;

use crate::backbone::BackboneError;
use crate::checkpoint::CheckpointError;
use crate::device::DeviceError;
use crate::loader::LoadError;
use crate::onnx::OnnxError;
use crate::words::WordError;

/// Why a training ends without weights.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The backbone cannot be loaded.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// An image or its features cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The meanings of words cannot be computed.
    #[error(transparent)]
    Word(#[from] WordError),
    /// The graph that measures images cannot be written.
    #[error(transparent)]
    Graph(#[from] OnnxError),
    /// The graph that measures images cannot be prepared or run.
    #[error("images cannot be measured: {0}")]
    Measure(#[from] BackendError),
    /// A tag cannot be encoded.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The run directory cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The small image encoder cannot be fitted.
    #[error(
        "the image encoder cannot be fitted to the scores of {what:?}: a score, or a value computed from an image, is \
         not finite. Check the scores of the data; if all are finite numbers, please report this as a defect"
    )]
    NotFinite {
        /// Name of the data set or the tag whose scores cannot be fitted.
        what: String,
    },
    /// The loss is not finite.
    #[error(
        "the loss became {loss} in epoch {epoch}, step {step}, with the images {}. Lower --lr, or look for wrong \
         scores in the data", images.join(", ")
    )]
    Diverged {
        /// Value of the loss: NaN or infinity.
        loss: f64,
        /// The epoch, counted from 1.
        epoch: usize,
        /// The step of the epoch, counted from 1.
        step: usize,
        /// Paths of the images of the step.
        images: Vec<String>,
    },
    /// The user stopped the training.
    #[error(
        "stopped in epoch {epoch} after step {step}; the state is saved. To continue `fit`, run the same command with \
         --resume {} in place of --run and --config; to continue `compare`, run the same command again", run.display()
    )]
    Stopped {
        /// The epoch, counted from 1.
        epoch: usize,
        /// Finished steps of the epoch.
        step: usize,
        /// Directory of the run, for `--resume`.
        run: PathBuf,
    },
    /// A defect of this program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl From<RecorderError> for LearnError {
    fn from(e: RecorderError) -> Self {
        Self::Internal(format!("the weights cannot be copied to the processor: {e}"))
    }
}
