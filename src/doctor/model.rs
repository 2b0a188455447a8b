//! Checks the configured bundle: its files against the manifest, and its goldens on each device.

use super::finding::Finding;
use crate::config::Settings;
use crate::prover::{Proof, Prover, ProverError};
use edge_model::backend::{BackendOptions, DeviceChoice, Precision};
use edge_model::bundle::Bundle;

const AREA: &str = "model";
const BUNDLE_ADVICE: &str = "Copy the bundle again from the original, or name another one with --model or [model] dir";

pub(super) fn findings(settings: &Settings, has_gpu: bool, prover: Prover, report: &mut dyn FnMut(Finding)) {
    let dir = match settings.model_dir() {
        Ok(dir) => dir,
        Err(error) => return report(Finding::problem(AREA, "bundle", error.to_string(), BUNDLE_ADVICE)),
    };
    match Bundle::open(dir).and_then(|bundle| bundle.verify().map(|()| bundle)) {
        Ok(bundle) => {
            let found = format!("{} ({}), all files match the manifest", bundle.manifest().name, bundle.digest());
            report(Finding::fine(AREA, dir.display().to_string(), found));
        }
        Err(error) => {
            return report(Finding::problem(AREA, dir.display().to_string(), error.to_string(), BUNDLE_ADVICE));
        }
    }
    let gpu = [(DeviceChoice::Cuda, Precision::F32), (DeviceChoice::Cuda, Precision::F16)];
    let cpu = [(DeviceChoice::Cpu, Precision::F32), (DeviceChoice::Cpu, Precision::Int8)];
    let devices = cpu.into_iter().chain(gpu.into_iter().filter(|_| has_gpu));
    for (device, precision) in devices {
        let options = BackendOptions { precision, ..settings.backend.clone() };
        report(proof(settings, device, precision, prover.prove(dir, device, &options)));
    }
}

fn proof(
    settings: &Settings,
    device: DeviceChoice,
    precision: Precision,
    proof: Result<Proof, ProverError>,
) -> Finding {
    let subject = format!("{device} in {precision}");
    let reason = match proof {
        Ok(proof) if proof.precision != precision.to_string() => {
            let found = format!("not supported on this machine, which uses {} instead", proof.precision);
            return Finding::fine(AREA, subject, found);
        }
        Ok(Proof { open_s, image_s, score_off, embedding_off, .. }) => {
            let found = format!(
                "goldens reproduced: scores within {score_off:.1e}, embeddings within {embedding_off:.1e}; \
                 opened in {open_s:.1} s, {:.1} ms per image",
                1e3 * image_s
            );
            return Finding::fine(AREA, subject, found);
        }
        Err(error) => error.to_string(),
    };
    let is_configured = match device {
        DeviceChoice::Cuda => settings.device == DeviceChoice::Cuda && settings.backend.precision == precision,
        // The CPU computes in f32 where f16 is configured.
        _ if precision == Precision::Int8 => {
            settings.device != DeviceChoice::Cuda && settings.backend.precision == precision
        }
        _ => settings.device != DeviceChoice::Cuda && settings.backend.precision != Precision::Int8,
    };
    if is_configured {
        Finding::problem(
            AREA,
            subject,
            reason,
            "Nothing can be scored with this device and precision. Fix the problems reported above, or configure another device or precision",
        )
    } else {
        let next = match device {
            DeviceChoice::Cuda => "This device is not configured. To use it, fix the problems reported under gpu above",
            _ => "This device and precision are not configured. Do not configure them with this model",
        };
        Finding::note(AREA, subject, reason, next)
    }
}
