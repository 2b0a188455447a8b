//! Looks at the box that the daemon is to run on and says what is wrong with it and what to do about it.
//!
//! One file for each area; all of them only look. What may hang or crash, which a broken GPU driver does, is done by a child process
//! ([`Prover`]). Printing is the command line's.

mod database;
mod directories;
mod gpu;
mod machine;
mod model;
mod prover;

use serde::Serialize;

pub use prover::{Proof, Prover, prove};

use crate::config::Settings;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be, or just a fact.
    Fine,
    /// Works, and could be better.
    Note,
    /// Does not work.
    Problem,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Such as `gpu`.
    pub area: &'static str,
    /// What was looked at.
    pub subject: String,
    /// How bad it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do next; always there for a problem.
    pub next: Option<String>,
}

impl Finding {
    fn fine(area: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { area, subject: subject.into(), state: State::Fine, found: found.into(), next: None }
    }

    fn note(area: &'static str, subject: impl Into<String>, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { state: State::Note, next: Some(next.into()), ..Self::fine(area, subject, found) }
    }

    fn problem(
        area: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { state: State::Problem, next: Some(next.into()), ..Self::fine(area, subject, found) }
    }
}

/// Looks at everything that `settings` name, and hands each finding on as soon as it is there: proving takes seconds, on a GPU for
/// the first time minutes.
pub fn examine(settings: &Settings, prover: &Prover, report: &mut dyn FnMut(Finding)) {
    machine::findings().into_iter().for_each(&mut *report);
    directories::findings(&settings.watch).into_iter().for_each(&mut *report);
    database::findings(&settings.store.path).into_iter().for_each(&mut *report);
    let (findings, has_gpu) = gpu::findings(settings.device, prover);
    findings.into_iter().for_each(&mut *report);
    model::findings(settings, has_gpu, prover, report);
}
