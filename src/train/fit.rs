//! `edge-trainer fit` from data to bundle: each step is another module's, the order is this one's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::assemble::{Content, DEFAULT_TAG, Findings, Provenance};
use super::backbone::Backbone;
use super::cache::FeatureCache;
use super::checkpoint::{Progress, RunDirectory, RunRecord, StateDirectory};
use super::dataset::{self, DataSet, Parts};
use super::device::{self, Device, Place};
use super::evaluate::{self, Bootstrap, Embedded, Epoch, Evaluation, Settings, rules, shuffled_tags};
use super::export::Parity;
use super::keeper::RunKeeper;
use super::message::{Listener, Message, note, warn};
use super::metrics::{Figures, quantiles};
use super::model::ModelShape;
use super::model::head::{problem, record};
use super::options::Trainable;
use super::report::{self, Results};
use super::training::{self, Frozen, Setting, Trained, merit};
use super::{TrainError, TrainOptions};
use crate::bundle::manifest::ImageSide;
use crate::image_input::{InputRule, Limits};
use crate::scorer::Scorer;
use crate::text::TagTokenizer;

/// Evenly spaced quantiles kept per tag.
const QUANTILES: usize = 33;
/// How many times better than chance the similarity must find an image's own tag before it may choose tags.
const RETRIEVAL_GAIN: f64 = 10.0;

/// Bootstrap replicates of the report's intervals.
const REPLICATES: usize = 1000;

/// What to do.
#[derive(Debug, Clone)]
pub struct FitRequest {
    /// The data, see [`dataset::read`].
    pub data: String,
    /// Where the bundle goes.
    pub out: PathBuf,
    /// Where options, figures and weights of the run go.
    pub run: PathBuf,
    /// Where the features of images are kept between runs.
    pub cache: PathBuf,
    /// Whether to go on with the training whose state is in `run`.
    pub resume: bool,
    /// Raised to stop the training after the step at hand.
    pub stop: Arc<AtomicBool>,
    /// How to train.
    pub options: TrainOptions,
    /// The command line, for the model card.
    pub command: String,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct FitOutcome {
    /// The figures that the manifest holds.
    pub metrics: BTreeMap<String, f64>,
    /// Differences between the trained network and the exported graphs.
    pub parity: Parity,
}

/// Trains on the data and writes a proved bundle.
///
/// # Errors
/// [`TrainError`]; no bundle is written then, and one that stood at the output path before stays as it was.
pub fn fit(request: &FitRequest, listener: &mut dyn Listener) -> Result<FitOutcome, TrainError> {
    if let Some(problem) = request.options.problem() {
        return Err(TrainError::Options(problem));
    }
    let place = find_device(request.options.device, listener)?;
    let backbone = Backbone::find(&request.options.backbone)?;
    let data = dataset::read(&request.data, &request.options.reading())?;
    let parts = prepare(&data, &request.options, listener)?;
    let name = model_name(request);
    let provenance = Provenance::new(name, request.command.clone(), (&request.options, &backbone), &data, &parts);
    let resumed = request.resume.then(|| resume(request, &provenance.data.sha256, listener)).transpose()?;
    let done = resumed.as_ref().map_or(&[][..], |progress| &progress.epochs);
    let mut run = RunDirectory::create(&request.run, &request.options, done)?;
    run.write_split(&parts)?;
    let backbone_sha256 = backbone.digest()?;
    run.write_record(&record_of(request, &place, &provenance, &backbone_sha256))?;

    let texts: Vec<String> = provenance.tags.iter().cloned().chain([DEFAULT_TAG.to_owned()]).collect();
    let (tokenizer, json, vocabulary) = backbone.tokenizer(&request.options, &texts)?;
    run.write_tokenizer(&json)?;
    let shape = backbone.shape(&request.options, &tokenizer, vocabulary);
    if let Some(problem) = problem(shape.head, shape.head_shape()) {
        return Err(TrainError::Options(problem));
    }
    let (parts, provenance, tokenizer, json) = (&parts, &provenance, &tokenizer, json.as_str());
    let sides = Sides { request, place, backbone, backbone_sha256, shape, parts, provenance, tokenizer, json };
    let trained = sides.learn(&mut run, resumed, listener)?;
    sides.bundle(&trained, listener)
}

/// Finds the device and says which one it is, and why it is no GPU.
fn find_device(asked: Device, listener: &mut dyn Listener) -> Result<Place, TrainError> {
    let (place, passed_over) = device::find(asked)?;
    let because = passed_over.map(|why| format!(": {} cannot be used, {}", why.device, why.reason)).unwrap_or_default();
    note(listener, format!("training on {place}{because}"));
    Ok(place)
}

fn record_of(request: &FitRequest, place: &Place, provenance: &Provenance, backbone_sha256: &str) -> RunRecord {
    RunRecord {
        program: concat!("edge-trainer ", env!("CARGO_PKG_VERSION")).to_owned(),
        engine: RunRecord::ENGINE.to_owned(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        device: place.clone(),
        precision: request.options.precision.on(place),
        seed: request.options.seed,
        data: provenance.data.name.clone(),
        data_sha256: provenance.data.sha256.clone(),
        backbone_sha256: backbone_sha256.to_owned(),
        command: request.command.clone(),
    }
}

fn model_name(request: &FitRequest) -> String {
    if request.options.name.is_empty() {
        request.out.file_name().map_or_else(|| "model".to_owned(), |n| n.to_string_lossy().into_owned())
    } else {
        request.options.name.clone()
    }
}

/// Checks and divides the data, and says what was found.
fn prepare(data: &DataSet, options: &TrainOptions, listener: &mut dyn Listener) -> Result<Parts, TrainError> {
    data.notes.iter().for_each(|text| note(listener, text));
    let examples = data.examples.clone();
    let paths: std::collections::HashSet<&Path> = examples.iter().map(|e| e.path.as_path()).collect();
    listener.on(Message::Begin { what: "checking images".to_owned(), steps: paths.len() as u64 });
    let checked = dataset::check(examples, options.max_bad_fraction, &Limits::default(), || {
        listener.on(Message::Step { measure: String::new() });
    });
    listener.on(Message::End);
    let (examples, found) = checked?;
    found.warnings().into_iter().for_each(|w| warn(listener, w));
    let test_share = data.test_share.unwrap_or(options.test_share);
    let parts = dataset::divide(examples, options.validation_share, test_share, options.seed)?;
    let [train, validation, test] = parts.sizes();
    let how = &parts.how;
    note(listener, format!("{train} examples to train on, {validation} to validate, {test} to test; divided {how}"));
    Ok(parts)
}

/// How far the run to go on with is, if its data are still the same.
fn resume(request: &FitRequest, data_sha256: &str, listener: &mut dyn Listener) -> Result<Progress, TrainError> {
    let progress = StateDirectory::of(&request.run).progress()?;
    if progress.data_sha256 != data_sha256 {
        let reason = format!("its data had the digest {}, these have {data_sha256}", progress.data_sha256);
        return Err(TrainError::Resume { run: request.run.clone(), reason });
    }
    let (epoch, steps) = (progress.epoch, progress.sums.steps);
    note(listener, format!("going on in epoch {epoch} after {steps} steps"));
    Ok(progress)
}

/// Everything that stands beside the weights on the way to the bundle.
struct Sides<'a> {
    request: &'a FitRequest,
    place: Place,
    backbone: Backbone,
    backbone_sha256: String,
    shape: ModelShape,
    parts: &'a Parts,
    provenance: &'a Provenance,
    tokenizer: &'a TagTokenizer,
    json: &'a str,
}

/// A bundle that is being judged, opened by the scorer.
struct Candidate<'a> {
    content: Content,
    scorer: Scorer,
    validation: Embedded<'a>,
    merit: f64,
    // Holds the bundle's files until the scorer is done with them.
    _dir: tempfile::TempDir,
}

impl<'a> Sides<'a> {
    fn learn(
        &self,
        run: &mut RunDirectory,
        resumed: Option<Progress>,
        listener: &mut dyn Listener,
    ) -> Result<Trained, TrainError> {
        let options = &self.request.options;
        let rules = self.backbone.input_rules(options);
        let rule = rules.get(rules.len() / 2).ok_or_else(|| TrainError::Options("input_px is empty".to_owned()))?;
        let features = self.frozen_features(rule, listener)?;
        let setting = Setting {
            options,
            place: &self.place,
            backbone: &self.backbone,
            train: &self.parts.train,
            validation: &self.parts.validation,
            rule,
            tokenizer: self.tokenizer,
            default_tag: DEFAULT_TAG,
            shape: &self.shape,
            data_sha256: &self.provenance.data.sha256,
            features: features.as_ref(),
        };
        let mut keeper = RunKeeper {
            run,
            dir: &self.request.run,
            state: StateDirectory::of(&self.request.run),
            backbone: &self.backbone,
            shape: &self.shape,
            head_only: features.is_some(),
            stop: &self.request.stop,
        };
        training::train(setting, resumed, &mut keeper, listener)
    }

    /// The features of all images, where the encoders are to stay as they are.
    fn frozen_features(
        &self,
        rule: &InputRule,
        listener: &mut dyn Listener,
    ) -> Result<Option<FeatureCache>, TrainError> {
        let options = &self.request.options;
        match options.trainable {
            Trainable::All => return Ok(None),
            Trainable::Last(_) if !self.backbone.is_trained() => {
                let name = &options.backbone;
                let reason = format!("--train last:N leaves layers as they are, and those of {name} are random");
                return Err(TrainError::Options(reason));
            }
            Trainable::Last(_) => return Ok(None),
            Trainable::Auto if !self.backbone.is_trained() => return Ok(None),
            Trainable::Head if !self.backbone.is_trained() => {
                let name = &options.backbone;
                let reason = format!("--train head leaves the encoders as they are, and those of {name} are random");
                return Err(TrainError::Options(reason));
            }
            Trainable::Auto | Trainable::Head => {}
        }
        let reads_patches = record(self.shape.head).image_side == ImageSide::PatchTokens;
        let patches = if reads_patches { self.shape.head_shape().patches } else { [0, 0] };
        let digest = &self.backbone_sha256;
        let cache = FeatureCache::open(&self.request.cache, digest, rule, self.shape.embedding(), patches)?;
        let frozen = Frozen {
            backbone: &self.backbone,
            shape: &self.shape,
            place: &self.place,
            rule,
            threads: options.loader_threads,
        };
        let examples = self.parts.train.iter().chain(&self.parts.validation);
        training::keep_features(frozen, &cache, examples, listener)?;
        Ok(Some(cache))
    }

    /// Chooses the input's size, judges, and writes the bundle.
    fn bundle(&self, trained: &Trained, listener: &mut dyn Listener) -> Result<FitOutcome, TrainError> {
        let mut best: Option<Candidate<'_>> = None;
        for rule in self.backbone.input_rules(&self.request.options) {
            let candidate = self.candidate(trained, rule, listener)?;
            if best.as_ref().is_none_or(|b| candidate.merit > b.merit) {
                best = Some(candidate);
            }
        }
        let best = best.ok_or_else(|| TrainError::Options("input_px is empty".to_owned()))?;
        let test = evaluate::embed(&best.scorer, &self.parts.test, "test", listener)?;
        let (results, findings) = self.judge(trained, &best, &test)?;
        let (_, parity) = best.content.write(&self.request.out, self.provenance, &findings)?;
        note(listener, report::summary(&results, parity));
        Ok(FitOutcome { metrics: findings.metrics, parity })
    }

    fn candidate(
        &self,
        trained: &Trained,
        rule: InputRule,
        listener: &mut dyn Listener,
    ) -> Result<Candidate<'a>, TrainError> {
        let size_px = rule.size_px;
        let content = Content::new(trained, (&self.shape, rule), self.provenance, self.tokenizer, self.json)?;
        let dir = tempfile::tempdir_in(&self.request.run).map_err(TrainError::file(&self.request.run))?;
        let bundle = dir.path().join("candidate");
        content.write(&bundle, self.provenance, &Findings::default())?;
        let scorer = Scorer::open(&bundle, crate::backend::DeviceChoice::Cpu)?;
        let what = format!("validation at {size_px} px");
        let validation = evaluate::embed(&scorer, &self.parts.validation, &what, listener)?;
        let figures = self.figures(&validation, &scorer, str::to_owned)?;
        let (srcc, within) = (figures.srcc, figures.within_tag_srcc);
        note(listener, format!("inputs of {size_px} px: SRCC {srcc:.3}, within tags {within:.3}"));
        Ok(Candidate { content, scorer, validation, merit: merit(&figures), _dir: dir })
    }

    fn figures(
        &self,
        images: &Embedded<'_>,
        scorer: &Scorer,
        tag_of: impl Fn(&str) -> String,
    ) -> Result<Figures, TrainError> {
        let judged = images.judge(scorer, tag_of)?;
        Ok(Figures::of(&judged, f64::from(self.request.options.tie_threshold)))
    }

    fn judge(
        &self,
        trained: &Trained,
        best: &Candidate<'_>,
        test: &Embedded<'_>,
    ) -> Result<(Results, Findings), TrainError> {
        let scorer = &best.scorer;
        let shuffled = shuffled_tags(&evaluate::distinct_tags(test.examples), self.request.options.seed);
        let (retrieval, chance) = test.retrieval(scorer)?;
        let results = Results {
            validation: self.figures(&best.validation, scorer, str::to_owned)?,
            test: self.figures(test, scorer, str::to_owned)?,
            shuffled: self.figures(test, scorer, |t| shuffled.get(t).map_or_else(|| t.to_owned(), Clone::clone))?,
            default_tag: self.figures(test, scorer, |_| DEFAULT_TAG.to_owned())?,
            retrieval,
            chance,
            evaluation: self.evaluation(trained, scorer, test)?,
            epochs: trained.epochs.clone(),
            size_px: best.content.rule().size_px,
            parameters: best.content.parameters(),
            graph_bytes: best.content.graph_bytes(),
        };
        let mut findings = Findings {
            metrics: results.metrics(),
            quantiles: own_quantiles(&best.validation, scorer)?,
            suggests_tags: retrieval >= RETRIEVAL_GAIN * chance,
            ..Findings::default()
        };
        for tag in self.provenance.tags.iter().map(String::as_str).chain([DEFAULT_TAG]) {
            let scores = best.validation.scores_under(scorer, tag)?;
            findings.tag_quantiles.insert(tag.to_owned(), rounded_quantiles(&scores));
        }
        findings.files = report::files(&results, self.provenance)?;
        Ok((results, findings))
    }

    /// The test images' figures with their intervals, for the report.
    fn evaluation(&self, trained: &Trained, scorer: &Scorer, test: &Embedded<'_>) -> Result<Evaluation, TrainError> {
        let seed = self.request.options.seed;
        let by_group = test.examples.iter().any(|e| e.condition.is_some());
        let settings =
            Settings { rules: rules(scorer.bundle()), bootstrap: Bootstrap::new(REPLICATES, seed), by_group };
        let mut evaluation = evaluate::evaluate(scorer, test, &settings)?;
        let [train, validation, _] = self.parts.sizes();
        evaluation.images = vec![format!(
            "the test part of {}, divided {}; {train} more examples were trained on, {validation} decided when to stop",
            self.provenance.data.name, self.provenance.split
        )];
        evaluation.epochs = Epoch::of_records(&trained.epochs)?;
        Ok(evaluation)
    }
}

fn own_quantiles(images: &Embedded<'_>, scorer: &Scorer) -> Result<Vec<f32>, TrainError> {
    let own: Vec<f32> = images.judge(scorer, str::to_owned)?.iter().map(|j| j.prediction as f32).collect();
    Ok(rounded_quantiles(&own))
}

/// To a ten-thousandth: more digits would only fill the manifest.
fn rounded_quantiles(scores: &[f32]) -> Vec<f32> {
    quantiles(scores, QUANTILES).into_iter().map(|q| (q * 1e4).round() / 1e4).collect()
}
