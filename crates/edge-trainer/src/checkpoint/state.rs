//! The state of a training between two steps: all that is needed to go on as if nothing had happened. It appears as a whole: a new
//! one is written beside the old one, and then takes its place.

use std::fs::File;
use std::path::{Path, PathBuf};

use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder, Record, Recorder};
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::{Deserialize, Serialize};

use super::{TrainError, load_weights, save_weights};
use crate::message::EpochRecord;
use crate::model::TagScorer;

const PROGRESS: &str = "progress.json";
const MODEL: &str = "model.mpk";
const AVERAGE: &str = "average.mpk";
const OPTIMIZER: &str = "optimizer.mpk";

/// Sums over the steps of an epoch so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// Of the whole loss.
    pub total: f64,
    /// Of its ranking part.
    pub ranking: f64,
    /// Of the squared error.
    pub squared_error: f64,
    /// Number of steps.
    pub steps: usize,
}

/// How far a training is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The epoch at work, from 1.
    pub epoch: usize,
    /// What its steps so far came to.
    pub sums: Sums,
    /// Every finished epoch.
    pub epochs: Vec<EpochRecord>,
    /// The best epoch's merit, whose weights are the run's `best.mpk`.
    pub best: Option<f64>,
    /// Finished epochs since then.
    pub since_best: usize,
    /// Time spent so far.
    pub seconds: f64,
    /// Digest of the data: with other data the training would be another one.
    pub data_sha256: String,
}

/// Which of the weights of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Those that are fitted.
    Fitted,
    /// Their moving average.
    Averaged,
}

/// The directory of a state.
#[derive(Debug, Clone)]
pub struct StateDirectory(PathBuf);

impl StateDirectory {
    /// The state of the run in `run`.
    pub fn of(run: &Path) -> Self {
        Self(run.join("state"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a state and puts it in the place of the one before.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn save<B: AutodiffBackend, R: Record<B>>(
        &self,
        progress: &Progress,
        head_only: bool,
        model: &TagScorer<B>,
        average: Option<&TagScorer<B::InnerBackend>>,
        optimizer: R,
    ) -> Result<(), TrainError> {
        let (new, old) = (self.0.with_extension("new"), self.0.with_extension("old"));
        for left_over in [&new, &old] {
            if left_over.exists() {
                std::fs::remove_dir_all(left_over).map_err(TrainError::file(left_over))?;
            }
        }
        std::fs::create_dir_all(&new).map_err(TrainError::file(&new))?;
        let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
        save_weights(model, head_only, &new.join(MODEL))?;
        if let Some(average) = average {
            save_weights(average, head_only, &new.join(AVERAGE))?;
        }
        let path = new.join(OPTIMIZER);
        Recorder::<B>::record(&recorder, optimizer, path.clone()).map_err(TrainError::file(&path))?;
        let path = new.join(PROGRESS);
        let json = serde_json::to_vec_pretty(progress).map_err(|e| TrainError::Internal(e.to_string()))?;
        std::fs::write(&path, json).map_err(TrainError::file(&path))?;
        for entry in std::fs::read_dir(&new).map_err(TrainError::file(&new))? {
            let path = entry.map_err(TrainError::file(&new))?.path();
            File::open(&path).and_then(|f| f.sync_all()).map_err(TrainError::file(&path))?;
        }
        if self.0.exists() {
            std::fs::rename(&self.0, &old).map_err(TrainError::file(&self.0))?;
        }
        std::fs::rename(&new, &self.0).map_err(TrainError::file(&self.0))?;
        if old.exists() {
            std::fs::remove_dir_all(&old).map_err(TrainError::file(&old))?;
        }
        Ok(())
    }

    /// Reads how far the training was. A state that was being replaced when the process died is put back first.
    ///
    /// # Errors
    /// [`TrainError::Resume`], [`TrainError::File`].
    pub fn progress(&self) -> Result<Progress, TrainError> {
        let old = self.0.with_extension("old");
        if !self.0.exists() && old.exists() {
            std::fs::rename(&old, &self.0).map_err(TrainError::file(&self.0))?;
        }
        let path = self.0.join(PROGRESS);
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let run = self.0.parent().unwrap_or(Path::new(".")).to_owned();
                return Err(TrainError::Resume { run, reason: "no state of a training is kept there".to_owned() });
            }
            Err(e) => return Err(TrainError::file(&path)(e)),
        };
        serde_json::from_slice(&json).map_err(TrainError::file(&path))
    }

    /// Loads weights onto a model of the same shape; its encoders stay where only the head was kept.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn load_model<B: Backend>(
        &self,
        which: Weights,
        onto: TagScorer<B>,
        head_only: bool,
    ) -> Result<TagScorer<B>, TrainError> {
        let path = self.0.join(match which {
            Weights::Fitted => MODEL,
            Weights::Averaged => AVERAGE,
        });
        load_weights(onto, head_only, &path)
    }

    /// Loads the optimizer's record.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn load_optimizer<B: Backend, R: Record<B>>(&self, device: &B::Device) -> Result<R, TrainError> {
        let path = self.0.join(OPTIMIZER);
        let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
        Recorder::<B>::load(&recorder, path.clone(), device).map_err(TrainError::file(&path))
    }
}
