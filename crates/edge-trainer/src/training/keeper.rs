//! The interface between a training and its caller, which stores the results and passes on the user's request to stop.

use super::error::LearnError;
use crate::checkpoint::StateDirectory;
use crate::device::Host;
use crate::message::EpochRecord;
use crate::model::{ScoreUnit, TagScorer};

/// Keeps the results of a training and reports whether the user wants it to stop.
pub trait Keeper {
    /// Keeps an epoch's record, and its weights if it is the best epoch so far.
    ///
    /// # Errors
    /// [`LearnError::Checkpoint`].
    fn keep_epoch(
        &mut self,
        record: &EpochRecord,
        unit: ScoreUnit,
        best: Option<&TagScorer<Host>>,
    ) -> Result<(), LearnError>;

    /// Returns the stored weights of the best epoch. A resumed training starts with them as its best weights.
    ///
    /// # Errors
    /// [`LearnError::Checkpoint`], [`LearnError::Backbone`].
    fn best(&self) -> Result<TagScorer<Host>, LearnError>;

    /// Returns the directory that stores the state from which a stopped training is resumed.
    fn state(&self) -> &StateDirectory;

    /// Whether the training must stop.
    fn is_stopped(&self) -> bool;
}
