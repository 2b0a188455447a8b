//! Writes the results of a training to its run directory: figures of every epoch, best weights, state.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::backbone::Backbone;
use crate::checkpoint::{self, ModelFile, RunDirectory, StateDirectory};
use crate::device::Host;
use crate::message::EpochRecord;
use crate::model::{ModelShape, ScoreUnit, TagScorer};
use crate::training::{Keeper, LearnError};

/// Writes the results of a training to its run directory.
pub struct RunKeeper<'a> {
    /// The open run directory.
    pub run: &'a mut RunDirectory,
    /// Path of the run directory.
    pub dir: &'a Path,
    /// The directory in which the state of the training is saved.
    pub state: StateDirectory,
    /// The encoders that the training started from.
    pub backbone: &'a Backbone,
    /// Kinds and sizes of the networks, which determine the shapes of the weights.
    pub shape: &'a ModelShape,
    /// Whether only the head's weights are written, because the encoders are not trained.
    pub head_only: bool,
    /// Set to `true` to stop the training.
    pub stop: &'a AtomicBool,
}

impl Keeper for RunKeeper<'_> {
    fn keep_epoch(
        &mut self,
        record: &EpochRecord,
        unit: ScoreUnit,
        best: Option<&TagScorer<Host>>,
    ) -> Result<(), LearnError> {
        self.run.write_epoch(record)?;
        let Some(model) = best else { return Ok(()) };
        let about = ModelFile {
            shape: self.shape.clone(),
            unit,
            epoch: record.epoch,
            srcc: record.srcc,
            within_tag_srcc: record.within_tag_srcc,
            head_only: self.head_only,
        };
        Ok(self.run.write_weights(model, &about)?)
    }

    fn best(&self) -> Result<TagScorer<Host>, LearnError> {
        let model = self.backbone.model(self.shape, &Default::default())?;
        Ok(checkpoint::load(self.dir, &checkpoint::read_about(self.dir)?, model)?)
    }

    fn state(&self) -> &StateDirectory {
        &self.state
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
