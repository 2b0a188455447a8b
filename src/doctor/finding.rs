//! The result of examining one subject, with the next step for every problem.

use serde::Serialize;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// No problem, or a plain fact.
    Fine,
    /// Works but could be better.
    Note,
    /// Does not work; the user must act.
    Problem,
}

/// The result of examining one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The area, such as `gpu`.
    pub area: &'static str,
    /// The examined thing, such as `driver` or a path.
    pub subject: String,
    /// How serious the finding is.
    #[serde(rename = "state")]
    pub severity: Severity,
    /// The result of the examination as a sentence, such as `goldens reproduced`.
    pub found: String,
    /// Advice for the user. Every problem has one.
    pub next: Option<String>,
}

impl Finding {
    pub(super) fn fine(area: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { area, subject: subject.into(), severity: Severity::Fine, found: found.into(), next: None }
    }

    pub(super) fn note(
        area: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Note, next: Some(next.into()), ..Self::fine(area, subject, found) }
    }

    pub(super) fn problem(
        area: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Problem, ..Self::note(area, subject, found, next) }
    }
}
