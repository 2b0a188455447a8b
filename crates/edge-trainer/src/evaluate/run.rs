//! Implements `edge-trainer eval`: makes an [`Evaluation`] of a bundle on rated images.

use std::path::{Path, PathBuf};

use edge_model::backend::DeviceChoice;
use edge_model::bundle::Bundle;
use edge_model::scorer::Scorer;
use serde_json::Value;

use super::choice::{self, Division, Which};
use super::embedding::{Embedded, embed};
use super::error::JudgeError;
use super::evaluation::{EpochFigures, EvalSettings, Evaluation, evaluate};
use super::options::JudgeOptions;
use crate::TrainOptions;
use crate::checkpoint;
use crate::dataset::Example;
use crate::message::Listener;
use crate::metrics::Rules;

/// Path of the trainer's figures within the bundle.
const REPORT: &str = "report/metrics.json";

/// Request to judge a bundle.
#[derive(Debug, Clone)]
pub struct EvalRequest {
    /// Directory of the bundle.
    pub model: PathBuf,
    /// The data, as [`crate::dataset::read`] accepts it.
    pub data: String,
    /// Which images of the data are judged.
    pub which: Which,
    /// Whether figures per condition are computed.
    pub by_group: bool,
    /// The options that `eval` and `compare` share.
    pub options: JudgeOptions,
}

/// An evaluation with the judged images.
#[derive(Debug)]
pub struct Judgement {
    /// The figures of the bundle on the judged images.
    pub evaluation: Evaluation,
    /// The judged examples in the order of the predictions.
    pub examples: Vec<Example>,
}

/// Judges a bundle on the requested images.
///
/// # Errors
/// [`JudgeError`].
pub fn eval(request: &EvalRequest, listener: &mut dyn Listener) -> Result<Judgement, JudgeError> {
    let scorer = open(&request.model, request.options.device)?;
    let (data, examples) = choice::read(scorer.bundle(), &request.data, &request.options, listener)?;
    let name = choice::name(&data, &examples, scorer.manifest());
    let chosen = choice::choose(scorer.bundle(), name, data.test_share, examples, request.which)?;
    let images: Embedded<'_> = embed(&scorer, &chosen.examples, "embedding", listener)?;
    let settings = EvalSettings {
        rules: rules(scorer.bundle()),
        bootstrap: request.options.bootstrap(scorer.manifest().training.seed),
        by_group: request.by_group,
    };
    let mut evaluation = evaluate(&scorer, &images, &settings, |tag| scorer.manifest().quantiles_of(tag))?;
    evaluation.model.digest = Some(scorer.digest().to_owned());
    evaluation.data = Some(chosen.data);
    evaluation.images = chosen.how;
    evaluation.epochs = epochs(scorer.bundle());
    Ok(Judgement { evaluation, examples: chosen.examples })
}

/// Opens a bundle.
///
/// # Errors
/// [`JudgeError::Bundle`].
pub fn open(dir: &Path, device: DeviceChoice) -> Result<Scorer, JudgeError> {
    Scorer::open(dir, device).map_err(|source| JudgeError::Bundle { dir: dir.to_owned(), source })
}

/// Returns the parameters of the measures: scale and tie threshold of the bundle. If the manifest states no tie
/// threshold, the default of the trainer is used.
pub fn rules(bundle: &Bundle) -> Rules {
    let scale = &bundle.manifest().score_scale;
    let tie = Division::of(bundle).map_or_else(|_| TrainOptions::default().tie_threshold, |d| d.tie_threshold);
    Rules { tie_threshold: decimal(tie), low: decimal(scale.min), high: decimal(scale.max) }
}

/// Converts an `f32` to the `f64` of its decimal text: 0.1, not 0.10000000149011612.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// Returns the epochs of the training from the bundle's report, or from the run directory beside the bundle.
fn epochs(bundle: &Bundle) -> Vec<EpochFigures> {
    let report = bundle.read(REPORT).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    if let Some(Value::Array(epochs)) = report.as_ref().and_then(|r| r.get("epochs")) {
        return EpochFigures::list(epochs);
    }
    let mut run = bundle.dir().as_os_str().to_owned();
    run.push(".run");
    let lines = std::fs::read_to_string(PathBuf::from(run).join(checkpoint::METRICS)).unwrap_or_default();
    let values: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    EpochFigures::list(&values)
}
