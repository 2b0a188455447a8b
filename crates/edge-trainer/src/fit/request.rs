//! Request and result of a fit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::dataset::damage::DamageRequest;
use crate::dataset::style::StyleRequest;
use crate::export::Parity;
use crate::{FitFile, FitSetup, TrainOptions};

/// All inputs of a fit.
#[derive(Debug, Clone)]
pub struct FitRequest {
    /// Style data sets that are made before the training if they do not exist.
    pub style: Vec<StyleRequest>,
    /// Damage data sets that are made before the training if they do not exist.
    pub damage: Vec<DamageRequest>,
    /// The data sets in the notation of [`crate::dataset::read`]; the training uses all of them together.
    pub data: Vec<String>,
    /// Whether data sets may name images outside their own directories. `fit.toml` does not hold it, because that file may come from a
    /// stranger, too.
    pub allow_outside: bool,
    /// Directory that the finished bundle is written to.
    pub out: PathBuf,
    /// Directory of the run: options, figures and weights.
    pub run: PathBuf,
    /// Directory that keeps the features of images between runs.
    pub cache: PathBuf,
    /// Whether to resume the training whose progress is saved in `run`.
    pub resume: bool,
    /// Set to `true` to stop the training after the current step.
    pub stop: Arc<AtomicBool>,
    /// The training options.
    pub options: TrainOptions,
    /// The command line, for the model card.
    pub command: String,
}

impl FitRequest {
    /// Returns the text of a `fit.toml` that repeats the fit.
    ///
    /// # Errors
    /// See [`FitFile::text`].
    pub(super) fn file_text(&self) -> Result<String, String> {
        let (data, style, damage) = (self.data.clone(), self.style.clone(), self.damage.clone());
        let setup = FitSetup { data, out: Some(self.out.clone()), run: Some(self.run.clone()), style, damage };
        FitFile { setup, options: self.options.clone() }.text()
    }
}

/// The result of a fit.
#[derive(Debug, Clone)]
pub struct FitOutcome {
    /// The figures in the manifest.
    pub metrics: BTreeMap<String, f64>,
    /// Largest differences between the trained network and the exported graphs.
    pub parity: Parity,
}
