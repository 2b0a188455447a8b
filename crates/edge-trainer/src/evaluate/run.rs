//! `edge-trainer eval`: from a bundle and data to an [`Evaluation`].

use std::path::PathBuf;

use serde_json::Value;

use super::choice::{self, Division, Which};
use super::evaluation::{Bootstrap, Epoch, Evaluation, Settings, evaluate};
use super::{Embedded, JudgeError, embed};
use crate::TrainOptions;
use crate::checkpoint;
use crate::message::Listener;
use crate::metrics::Rules;
use edge_model::backend::DeviceChoice;
use edge_model::bundle::Bundle;
use edge_model::scorer::Scorer;

/// A bundle's own report, as data.
const REPORT: &str = "report/metrics.json";

/// What to judge.
#[derive(Debug, Clone)]
pub struct EvalRequest {
    /// The bundle.
    pub model: PathBuf,
    /// The data, see [`crate::dataset::read`].
    pub data: String,
    /// Which images.
    pub which: Which,
    /// Whether the images' conditions are told apart.
    pub by_group: bool,
    /// Seed of the bootstrap and the shuffled tags; none: the bundle's own.
    pub seed: Option<u64>,
    /// Number of bootstrap replicates.
    pub replicates: usize,
    /// Largest share of unreadable or missing images.
    pub max_bad_fraction: f64,
    /// Where the graphs run.
    pub device: DeviceChoice,
}

/// An evaluation and the images that it is of.
#[derive(Debug)]
pub struct Judgement {
    /// The figures.
    pub evaluation: Evaluation,
    /// The images, in the order of the predictions.
    pub examples: Vec<crate::dataset::Example>,
}

/// Judges a bundle.
///
/// # Errors
/// [`JudgeError`].
pub fn eval(request: &EvalRequest, listener: &mut dyn Listener) -> Result<Judgement, JudgeError> {
    let scorer = open(&request.model, request.device)?;
    let (data, examples) = choice::read((scorer.bundle(), &request.data), request.max_bad_fraction, listener)?;
    let name = choice::name(&data, &examples, scorer.manifest());
    let chosen = choice::choose(scorer.bundle(), (name, data.test_share), examples, request.which)?;
    let images: Embedded<'_> = embed(&scorer, &chosen.examples, "embedding", listener)?;
    let settings = Settings {
        rules: rules(scorer.bundle()),
        bootstrap: Bootstrap::new(request.replicates, request.seed.unwrap_or(scorer.manifest().training.seed)),
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
pub fn open(dir: &std::path::Path, device: DeviceChoice) -> Result<Scorer, JudgeError> {
    Scorer::open(dir, device).map_err(|source| JudgeError::Bundle { dir: dir.to_owned(), source })
}

/// The scale is the bundle's, and so is the tie threshold; where its manifest says none, that of a training without
/// options.
pub fn rules(bundle: &Bundle) -> Rules {
    let scale = &bundle.manifest().score_scale;
    let tie = Division::of(bundle).map_or_else(|_| TrainOptions::default().tie_threshold, |d| d.tie_threshold);
    Rules { tie_threshold: decimal(tie), low: decimal(scale.min), high: decimal(scale.max) }
}

/// The number that an `f32` was written as: 0.1, not 0.10000000149011612.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// The course of the training: from the bundle's report, else from the run that lies beside the bundle.
fn epochs(bundle: &Bundle) -> Vec<Epoch> {
    let report = bundle.read(REPORT).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    if let Some(Value::Array(epochs)) = report.as_ref().and_then(|r| r.get("epochs")) {
        return Epoch::list(epochs);
    }
    let mut run = bundle.dir().as_os_str().to_owned();
    run.push(".run");
    let lines = std::fs::read_to_string(PathBuf::from(run).join(checkpoint::METRICS)).unwrap_or_default();
    let values: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Epoch::list(&values)
}
