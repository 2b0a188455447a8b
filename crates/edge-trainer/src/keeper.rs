//! What a training leaves in its run directory while it goes on: each epoch, the best weights, the state.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::TrainError;
use super::backbone::Backbone;
use super::checkpoint::{self, ModelFile, RunDirectory, StateDirectory};
use super::device::Host;
use super::message::EpochRecord;
use super::model::{ModelShape, ScoreUnit, TagScorer};
use super::training::Keeper;

/// Keeps a training in its run directory.
pub struct RunKeeper<'a> {
    /// Takes epochs and weights.
    pub run: &'a mut RunDirectory,
    /// Where it is.
    pub dir: &'a Path,
    /// The state between two steps.
    pub state: StateDirectory,
    /// The encoders.
    pub backbone: &'a Backbone,
    /// Shapes of the weights.
    pub shape: &'a ModelShape,
    /// Whether the encoders stay as they came, so that only the head is kept.
    pub head_only: bool,
    /// Raised to stop the training.
    pub stop: &'a AtomicBool,
}

impl Keeper for RunKeeper<'_> {
    fn epoch(
        &mut self,
        record: &EpochRecord,
        unit: ScoreUnit,
        best: Option<&TagScorer<Host>>,
    ) -> Result<(), TrainError> {
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
        self.run.write_weights(model, &about)
    }

    fn best(&self) -> Result<TagScorer<Host>, TrainError> {
        let model = self.backbone.model(self.shape, &Default::default())?;
        checkpoint::load(self.dir, &checkpoint::read_about(self.dir)?, model)
    }

    fn state(&self) -> &StateDirectory {
        &self.state
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
