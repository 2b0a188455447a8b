//! Examines the machine that the daemon runs on, and advises on every problem.
//!
//! There is one file per area. The examination changes nothing. A child process ([`Prover`]) runs the tests that a broken GPU driver could
//! hang or crash. The command line prints the findings.

mod database;
mod decoder;
mod directories;
mod finding;
mod gpu;
mod machine;
mod model;

pub use finding::{Finding, Severity};

use crate::config::Settings;
use crate::prover::Prover;

/// Examines the machine and everything that `settings` name. Calls `report` with each finding as soon as it is known: testing the model
/// takes seconds, and minutes the first time on a GPU.
pub fn examine(settings: &Settings, prover: Prover, report: &mut dyn FnMut(Finding)) {
    machine::findings().into_iter().for_each(&mut *report);
    report(decoder::finding(&settings.limits, settings.decode_timeout));
    directories::findings(&settings.watch).into_iter().for_each(&mut *report);
    database::findings(&settings.store.path).into_iter().for_each(&mut *report);
    let (findings, has_gpu) = gpu::findings(settings.device, prover);
    findings.into_iter().for_each(&mut *report);
    model::findings(settings, has_gpu, prover, report);
}
