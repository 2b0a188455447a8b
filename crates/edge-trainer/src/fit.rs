//! `edge-trainer fit` from data to bundle: each step is another module's, the order is this one's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::assemble::{DEFAULT_TAG, Provenance};
use super::backbone::Backbone;
use super::cache::FeatureCache;
use super::checkpoint::{Progress, RunDirectory, RunRecord, StateDirectory};
use super::dataset::style::StyleRequest;
use super::dataset::{self, DataSet, Example, Parts, Shares};
use super::device::{self, Device, Place};
use super::evaluate::reference_examples;
use super::export::Parity;
use super::features::Encoded;
use super::fit_file::{FitFile, Setup};
use super::keeper::RunKeeper;
use super::message::{Listener, Message, note, warn};
use super::model::head::{problem, record};
use super::model::{ModelShape, TagScorer};
use super::optimise::rounded_to_f16;
use super::options::Trainable;
use super::training::{self, Frozen, Setting, Trained};
use super::{TrainError, TrainOptions};
use edge_model::bundle::manifest::ImageSide;
use edge_model::image_input::{InputRule, Limits};
use edge_model::text::TagTokenizer;

/// Images of each data set that percentiles refer to, at most.
const REFERENCE: usize = 3000;

/// What to do.
#[derive(Debug, Clone)]
pub struct FitRequest {
    /// Style data sets that are made first, where they are not there.
    pub style: Vec<StyleRequest>,
    /// The data sets, see [`dataset::read`]; several are trained on together.
    pub data: Vec<String>,
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

impl FitRequest {
    /// The request as a file that repeats it.
    ///
    /// # Errors
    /// [`TrainError::Options`].
    pub(super) fn file(&self) -> Result<String, TrainError> {
        let (data, style) = (self.data.clone(), self.style.clone());
        let setup = Setup { data, out: Some(self.out.clone()), run: Some(self.run.clone()), style };
        FitFile { setup, options: self.options.clone() }.text().map_err(TrainError::Options)
    }
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
    for style in &request.style {
        dataset::style::ensure(style, listener)?;
    }
    let data = dataset::read_all(&request.data, &request.options.reading())?;
    let by_name = request.data.len() > 1;
    let parts = prepare((&data, by_name), &request.options, listener)?;
    let name = model_name(request);
    let provenance = Provenance::new(name, request.command.clone(), (&request.options, &backbone), &data, &parts);
    let resumed = request.resume.then(|| resume(request, &provenance.data_sha256, listener)).transpose()?;
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
    let reference = reference_examples(parts.train.iter().chain(&parts.validation), REFERENCE);
    let sides =
        Sides { request, place, backbone, backbone_sha256, shape, parts, reference, provenance, tokenizer, json };
    let encoded = sides.encode(listener)?;
    let mut trained = sides.learn(&mut run, resumed, &encoded, listener)?;
    if sides.backbone == Backbone::Small {
        // The image encoder's matrices are as 16 bits hold them since they were fitted.
        let TagScorer { text, head, .. } = trained.model;
        trained.model = TagScorer { text: rounded_to_f16(text), head: rounded_to_f16(head), ..trained.model };
    }
    sides.bundle(&trained, &encoded, listener)
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
        data: provenance.data_name.clone(),
        data_sha256: provenance.data_sha256.clone(),
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
fn prepare(
    (data, by_name): (&DataSet, bool),
    options: &TrainOptions,
    listener: &mut dyn Listener,
) -> Result<Parts, TrainError> {
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
    let shares = Shares {
        validation: options.validation_share,
        test: data.test_share.unwrap_or(options.test_share),
        seed: options.seed,
        fold: options.fold,
        by_name,
    };
    let parts = dataset::divide(examples, shares)?;
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
pub(super) struct Sides<'a> {
    pub(super) request: &'a FitRequest,
    pub(super) place: Place,
    pub(super) backbone: Backbone,
    pub(super) backbone_sha256: String,
    pub(super) shape: ModelShape,
    pub(super) parts: &'a Parts,
    /// What percentiles refer to, of training and validation.
    pub(super) reference: Vec<Example>,
    pub(super) provenance: &'a Provenance,
    pub(super) tokenizer: &'a TagTokenizer,
    pub(super) json: &'a str,
}

impl Sides<'_> {
    fn learn(
        &self,
        run: &mut RunDirectory,
        resumed: Option<Progress>,
        encoded: &Encoded,
        listener: &mut dyn Listener,
    ) -> Result<Trained, TrainError> {
        let options = &self.request.options;
        let setting = Setting {
            options,
            place: &self.place,
            backbone: &self.backbone,
            train: &self.parts.train,
            validation: &self.parts.validation,
            rule: &self.backbone.input_rule(options),
            tokenizer: self.tokenizer,
            default_tag: DEFAULT_TAG,
            shape: &self.shape,
            data_sha256: &self.provenance.data_sha256,
            fit: encoded.fitted.as_ref().map(|fitted| &fitted.fit),
            answer_of: encoded.fitted.as_ref().map(|fitted| &fitted.answer_of),
            features: encoded.features(),
        };
        let mut keeper = RunKeeper {
            run,
            dir: &self.request.run,
            state: StateDirectory::of(&self.request.run),
            backbone: &self.backbone,
            shape: &self.shape,
            head_only: encoded.kept.is_some(),
            stop: &self.request.stop,
        };
        training::train(setting, resumed, &mut keeper, listener)
    }

    /// What is done before any training: the small image encoder is fitted, encoders that stay as they are encode.
    fn encode(&self, listener: &mut dyn Listener) -> Result<Encoded, TrainError> {
        let options = &self.request.options;
        let rule = self.backbone.input_rule(options);
        let kept = self.frozen_features(&rule, listener)?;
        if self.backbone != Backbone::Small {
            return Ok(Encoded { kept, fitted: None });
        }
        let examples = [self.parts.train.as_slice(), self.parts.validation.as_slice()];
        let fitted = training::fit_image_encoder(options, &rule, examples, listener)?;
        Ok(Encoded { kept, fitted: Some(fitted) })
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
}
