//! Implements `edge-trainer fit`: reads and divides the data, trains the model, judges it, and writes the bundle.

mod data;
mod judge;
mod learn;
mod names;
mod plan;
mod request;
mod run_keeper;

pub use request::{FitOutcome, FitRequest};

use std::path::Path;

use data::check_and_divide;
use plan::FitPlan;

use crate::TrainError;
use crate::assemble::{DEFAULT_TAG, Provenance};
use crate::backbone::Backbone;
use crate::checkpoint::{CheckpointError, RunDirectory, RunRecord, StateDirectory, TrainProgress};
use crate::dataset;
use crate::dataset::damage::DamageRequest;
use crate::dataset::style::StyleRequest;
use crate::device::{self, DeviceRequest, TrainDevice};
use crate::evaluate::reference_examples;
use crate::message::{Listener, note};
use crate::model::head::problem;

/// Largest number of images per data set that are reference images of percentiles.
const REFERENCE_IMAGES: usize = 3000;

/// Trains on the data and writes a proved bundle.
///
/// # Errors
/// [`TrainError`]. No bundle is written in this case, and an older one at the output path stays unchanged.
pub fn fit(request: &FitRequest, listener: &mut dyn Listener) -> Result<FitOutcome, TrainError> {
    if let Some(problem) = request.options.problem() {
        return Err(TrainError::Options(problem));
    }
    let device = find_device(request.options.device, listener)?;
    let backbone = Backbone::find(&request.options.backbone, Path::new(&request.options.parts))?;
    for style in &request.style {
        let style = StyleRequest { allow_outside: request.allow_outside, ..style.clone() };
        dataset::style::ensure(&style, listener)?;
    }
    for damage in &request.damage {
        let damage = DamageRequest { allow_outside: request.allow_outside, ..damage.clone() };
        dataset::damage::ensure(&damage, listener)?;
    }
    let data = dataset::read_all(&request.data, &request.options.reading(request.allow_outside))?;
    let parts = &check_and_divide(&data, request.data.len() > 1, &request.options, listener)?;
    let name = model_name(request);
    let provenance = &Provenance::new(name, request.command.clone(), (&request.options, &backbone), &data, parts);
    let resumed = request.resume.then(|| saved_progress(request, &provenance.data_sha256, listener)).transpose()?;
    let finished = resumed.as_ref().map_or(&[][..], |progress| &progress.epochs);
    let mut run = RunDirectory::create(&request.run, &request.options, finished)?;
    run.write_split(parts)?;
    let backbone_sha256 = backbone.digest()?;
    run.write_record(&run_record(request, &device, provenance, &backbone_sha256))?;

    let texts: Vec<String> = provenance.tags.iter().cloned().chain([DEFAULT_TAG.to_owned()]).collect();
    let (tokenizer, tokenizer_json, vocabulary) = &backbone.tokenizer(&request.options, &texts)?;
    run.write_tokenizer(tokenizer_json)?;
    let shape = backbone.shape(&request.options, tokenizer, *vocabulary);
    if let Some(problem) = problem(shape.head, shape.head_shape()) {
        return Err(TrainError::Options(problem));
    }
    let reference = reference_examples(parts.train.iter().chain(&parts.validation), REFERENCE_IMAGES);
    let plan = FitPlan {
        request,
        device,
        backbone,
        backbone_sha256,
        shape,
        parts,
        reference,
        provenance,
        tokenizer,
        tokenizer_json,
    };
    let encoded = learn::encode(&plan, listener)?;
    let trained = learn::learn(&plan, &mut run, resumed, &encoded, listener)?;
    judge::write_bundle(&plan, &trained, &encoded, listener)
}

/// Finds the device and reports it. If the processor is used because no GPU can be used, reports the reason too.
fn find_device(request: DeviceRequest, listener: &mut dyn Listener) -> Result<TrainDevice, TrainError> {
    let (device, rejected) = device::find(request)?;
    let reason =
        rejected.map(|why| format!(", because {} cannot be used: {}", why.device, why.reason)).unwrap_or_default();
    note(listener, format!("training on {device}{reason}"));
    Ok(device)
}

fn run_record(request: &FitRequest, device: &TrainDevice, provenance: &Provenance, backbone_sha256: &str) -> RunRecord {
    RunRecord {
        program: concat!("edge-trainer ", env!("CARGO_PKG_VERSION")).to_owned(),
        engine: RunRecord::ENGINE.to_owned(),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        device: device.clone(),
        precision: request.options.precision.on(device),
        seed: request.options.seed,
        data: provenance.data_name.clone(),
        data_sha256: provenance.data_sha256.clone(),
        backbone_sha256: backbone_sha256.to_owned(),
        command: request.command.clone(),
    }
}

/// Returns the model's name: the option if given, otherwise the name of the output directory.
fn model_name(request: &FitRequest) -> String {
    if request.options.name.is_empty() {
        request.out.file_name().map_or_else(|| "model".to_owned(), |n| n.to_string_lossy().into_owned())
    } else {
        request.options.name.clone()
    }
}

/// Reads the progress of the training to resume, and checks that the data have not changed since it started.
fn saved_progress(
    request: &FitRequest,
    data_sha256: &str,
    listener: &mut dyn Listener,
) -> Result<TrainProgress, TrainError> {
    let progress = StateDirectory::of(&request.run).progress()?;
    if progress.data_sha256 != data_sha256 {
        let reason = format!(
            "the training was started on data with the digest {}, but the data now have the digest {data_sha256}",
            progress.data_sha256
        );
        return Err(CheckpointError::Resume { run: request.run.clone(), reason }.into());
    }
    let (epoch, steps) = (progress.epoch, progress.sums.steps);
    note(listener, format!("resuming in epoch {epoch} after {steps} steps"));
    Ok(progress)
}
