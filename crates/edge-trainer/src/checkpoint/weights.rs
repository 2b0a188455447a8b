//! Reads and writes weight files in burn's own format, in f32. burn's compact recorders would round the weights to 16
//! bits.

use std::path::Path;

use burn::module::Module;
use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder};
use burn::tensor::backend::Backend;

use crate::file_error::FileError;
use crate::model::TagScorer;

/// Writes the weights of the model, or of its head alone.
pub(super) fn save_weights<B: Backend>(model: &TagScorer<B>, head_only: bool, path: &Path) -> Result<(), FileError> {
    let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
    let saved = if head_only {
        model.head.clone().save_file(path, &recorder)
    } else {
        model.clone().save_file(path, &recorder)
    };
    saved.map_err(FileError::at(path))
}

/// Loads the weights from a file that [`save_weights`] wrote with the same `head_only`. The saved model must have the
/// shape of `model`. With `head_only` the encoders stay unchanged.
pub(super) fn load_weights<B: Backend>(
    model: TagScorer<B>,
    head_only: bool,
    path: &Path,
) -> Result<TagScorer<B>, FileError> {
    let device = Default::default();
    let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
    if head_only {
        let head = model.head.load_file(path, &recorder, &device).map_err(FileError::at(path))?;
        return Ok(TagScorer { head, ..model });
    }
    model.load_file(path, &recorder, &device).map_err(FileError::at(path))
}
