//! The state of a training between two steps: all values that a resumed training needs to give the same result as an
//! uninterrupted one. The new state is written completely before it replaces the old one, so that one of the two
//! always survives a crash.

use std::fs::File;
use std::path::{Path, PathBuf};

use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder, Record, Recorder};
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::{Deserialize, Serialize};

use super::error::CheckpointError;
use super::weights::{load_weights, save_weights};
use crate::file_error::FileError;
use crate::message::EpochRecord;
use crate::model::TagScorer;

const PROGRESS: &str = "progress.json";
const MODEL: &str = "model.mpk";
const AVERAGE: &str = "average.mpk";
const OPTIMIZER: &str = "optimizer.mpk";

/// Sums of the losses over the finished steps of an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossSums {
    /// Sum of the total losses, which the training minimises.
    pub total: f64,
    /// Sum of the ranking losses.
    pub ranking: f64,
    /// Sum of the mean squared errors of the batches.
    pub squared_error: f64,
    /// Number of finished steps.
    pub steps: usize,
}

/// How far a training has come, and its results so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainProgress {
    /// The current epoch, counted from 1.
    pub epoch: usize,
    /// Losses of the current epoch.
    pub sums: LossSums,
    /// Figures of the finished epochs, in their order.
    pub epochs: Vec<EpochRecord>,
    /// Merit of the best epoch, whose weights are in the run's `best.mpk`; `None` before the first epoch ends.
    pub best: Option<f64>,
    /// Number of epochs that finished since the best one.
    pub since_best: usize,
    /// Wall-clock time of the training so far in seconds, including the time before it was resumed.
    pub seconds: f64,
    /// Digest of the data. A training is resumed on the same data only.
    pub data_sha256: String,
}

/// A set of weights in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightSet {
    /// The weights that the steps change.
    Trained,
    /// Moving average of the trained weights over the steps.
    Averaged,
}

/// The directory in which the state of a training is saved.
#[derive(Debug, Clone)]
pub struct StateDirectory(PathBuf);

impl StateDirectory {
    /// Returns the state directory of the run in `run`.
    pub fn of(run: &Path) -> Self {
        Self(run.join("state"))
    }

    /// Returns the path of the state directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a state, which replaces the previously saved one.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn save<B: AutodiffBackend, R: Record<B>>(
        &self,
        progress: &TrainProgress,
        head_only: bool,
        model: &TagScorer<B>,
        average: Option<&TagScorer<B::InnerBackend>>,
        optimizer: R,
    ) -> Result<(), CheckpointError> {
        let (new, old) = (self.0.with_extension("new"), self.0.with_extension("old"));
        for left_over in [&new, &old] {
            if left_over.exists() {
                std::fs::remove_dir_all(left_over).map_err(FileError::at(left_over))?;
            }
        }
        std::fs::create_dir_all(&new).map_err(FileError::at(&new))?;
        let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
        save_weights(model, head_only, &new.join(MODEL))?;
        if let Some(average) = average {
            save_weights(average, head_only, &new.join(AVERAGE))?;
        }
        let path = new.join(OPTIMIZER);
        Recorder::<B>::record(&recorder, optimizer, path.clone()).map_err(FileError::at(&path))?;
        let path = new.join(PROGRESS);
        let json = serde_json::to_vec_pretty(progress).map_err(|e| CheckpointError::Internal(e.to_string()))?;
        std::fs::write(&path, json).map_err(FileError::at(&path))?;
        for entry in std::fs::read_dir(&new).map_err(FileError::at(&new))? {
            let path = entry.map_err(FileError::at(&new))?.path();
            File::open(&path).and_then(|f| f.sync_all()).map_err(FileError::at(&path))?;
        }
        if self.0.exists() {
            std::fs::rename(&self.0, &old).map_err(FileError::at(&self.0))?;
        }
        std::fs::rename(&new, &self.0).map_err(FileError::at(&self.0))?;
        if old.exists() {
            std::fs::remove_dir_all(&old).map_err(FileError::at(&old))?;
        }
        Ok(())
    }

    /// Reads the progress of the saved state. If a crash interrupted the replacement of a state, the old state is
    /// restored first.
    ///
    /// # Errors
    /// [`CheckpointError::Resume`], [`CheckpointError::File`].
    pub fn progress(&self) -> Result<TrainProgress, CheckpointError> {
        let old = self.0.with_extension("old");
        if !self.0.exists() && old.exists() {
            std::fs::rename(&old, &self.0).map_err(FileError::at(&self.0))?;
        }
        let path = self.0.join(PROGRESS);
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let run = self.0.parent().unwrap_or(Path::new(".")).to_owned();
                return Err(CheckpointError::Resume { run, reason: "it has no saved state".to_owned() });
            }
            Err(e) => return Err(FileError::at(&path)(e).into()),
        };
        Ok(serde_json::from_slice(&json).map_err(FileError::at(&path))?)
    }

    /// Loads weights into a model of the same shape. With `head_only` the encoders stay unchanged.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn load_model<B: Backend>(
        &self,
        which: WeightSet,
        model: TagScorer<B>,
        head_only: bool,
    ) -> Result<TagScorer<B>, CheckpointError> {
        let path = self.0.join(match which {
            WeightSet::Trained => MODEL,
            WeightSet::Averaged => AVERAGE,
        });
        Ok(load_weights(model, head_only, &path)?)
    }

    /// Loads the optimizer's record.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn load_optimizer<B: Backend, R: Record<B>>(&self, device: &B::Device) -> Result<R, CheckpointError> {
        let path = self.0.join(OPTIMIZER);
        let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
        Ok(Recorder::<B>::load(&recorder, path.clone(), device).map_err(FileError::at(&path))?)
    }
}
