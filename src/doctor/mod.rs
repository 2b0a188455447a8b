//! Examines the machine that the daemon runs on, and advises on every problem.
//!
//! There is one file per area. Nothing is changed. Code that may hang or crash, because a GPU driver is broken, runs in a child process
//! ([`Prover`]). The command line prints the findings.

mod database;
mod directories;
mod gpu;
mod machine;
mod model;
mod prover;

use serde::Serialize;

pub use prover::{Proof, Prover, ProverError, prove};

use crate::config::Settings;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// In order, or a plain fact.
    Fine,
    /// Works but could be better.
    Note,
    /// Does not work.
    Problem,
}

/// The result of examining one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The area, such as `gpu`.
    pub area: &'static str,
    /// What was examined.
    pub subject: String,
    /// How serious it is.
    #[serde(rename = "state")]
    pub severity: Severity,
    /// The result.
    pub found: String,
    /// The next step. Every problem has one.
    pub next: Option<String>,
}

impl Finding {
    fn fine(area: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { area, subject: subject.into(), severity: Severity::Fine, found: found.into(), next: None }
    }

    fn note(area: &'static str, subject: impl Into<String>, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { severity: Severity::Note, next: Some(next.into()), ..Self::fine(area, subject, found) }
    }

    fn problem(
        area: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Problem, next: Some(next.into()), ..Self::fine(area, subject, found) }
    }
}

/// Examines everything that `settings` name. Calls `report` with each finding at once, because testing the model takes seconds, and minutes
/// the first time on a GPU.
pub fn examine(settings: &Settings, prover: &Prover, report: &mut dyn FnMut(Finding)) {
    machine::findings().into_iter().for_each(&mut *report);
    directories::findings(&settings.watch).into_iter().for_each(&mut *report);
    database::findings(&settings.store.path).into_iter().for_each(&mut *report);
    let (findings, has_gpu) = gpu::findings(settings.device, prover);
    findings.into_iter().for_each(&mut *report);
    model::findings(settings, has_gpu, prover, report);
}
