//! The bundle, and what it proves on each device.

use super::{Finding, Proof, Prover};
use crate::config::Settings;
use edge_model::backend::{DeviceChoice, Precision};
use edge_model::bundle::Bundle;

const AREA: &str = "model";

pub(super) fn findings(settings: &Settings, has_gpu: bool, prover: &Prover, report: &mut dyn FnMut(Finding)) {
    let dir = &settings.model_dir;
    match Bundle::open(dir).and_then(|bundle| bundle.verify().map(|()| bundle)) {
        Ok(bundle) => {
            let found = format!("{} ({}), all files as the manifest says", bundle.manifest().name, bundle.digest());
            report(Finding::fine(AREA, dir.display().to_string(), found));
        }
        Err(error) => {
            let next = "Copy the bundle again from where it came from, or name another with --model or [model] dir";
            return report(Finding::problem(AREA, dir.display().to_string(), error.to_string(), next));
        }
    }
    let gpu = [(DeviceChoice::Cuda, Precision::F32), (DeviceChoice::Cuda, Precision::F16)];
    let cpu = [(DeviceChoice::Cpu, Precision::F32), (DeviceChoice::Cpu, Precision::Int8)];
    let devices = cpu.into_iter().chain(gpu.into_iter().filter(|_| has_gpu));
    for (device, precision) in devices {
        report(proof(settings, device, precision, prover.prove(dir, device, precision)));
    }
}

fn proof(settings: &Settings, device: DeviceChoice, precision: Precision, proof: Result<Proof, String>) -> Finding {
    let subject = format!("{device} in {precision}");
    let reason = match proof {
        Ok(proof) if proof.precision != precision.to_string() => {
            let found = format!("not on this machine: computed in {}", proof.precision);
            return Finding::fine(AREA, subject, found);
        }
        Ok(Proof { open_s, image_s, score_off, embedding_off, .. }) => {
            let found = format!(
                "goldens right: scores within {score_off:.1e}, embeddings within {embedding_off:.1e}; opened in {open_s:.1} s, {:.1} ms an image",
                1e3 * image_s
            );
            return Finding::fine(AREA, subject, found);
        }
        Err(reason) => reason,
    };
    let is_asked_for = match device {
        DeviceChoice::Cuda => settings.device == DeviceChoice::Cuda && settings.setup.precision == precision,
        // Without a GPU, 16 bits are 32.
        _ if precision == Precision::Int8 => {
            settings.device != DeviceChoice::Cuda && settings.setup.precision == precision
        }
        _ => settings.device != DeviceChoice::Cuda && settings.setup.precision != Precision::Int8,
    };
    if is_asked_for {
        Finding::problem(
            AREA,
            subject,
            reason,
            "Nothing can be scored on this device: mend what the report says above, or set another device",
        )
    } else {
        let next = match device {
            DeviceChoice::Cuda => "It is not used; see what the report says of the gpu above",
            _ => "It is not used; do not ask for it with this model",
        };
        Finding::note(AREA, subject, reason, next)
    }
}
