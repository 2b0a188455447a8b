//! What is said about a model: reports as pages, Markdown and JSON, and a bundle's own documents.
//!
//! [`document`] is the shape that all reports share, `html` and `markdown` write it, `chart` draws. What stands in a
//! report is decided by `evaluation`, `comparison` and, for a bundle, `card`. Computes nothing that is reported.

mod card;
mod chart;
mod comparison;
pub mod document;
mod evaluation;
mod gallery;
mod html;
mod markdown;
mod words;

use std::path::Path;

use serde::Serialize;

pub use card::{Results, files, summary};

use super::dataset::Example;
use super::evaluate::compare::{Comparison, PUBLISHED};
use super::evaluate::{Evaluation, JudgeError};
use super::metrics::Measure;
use document::Document;

/// The page.
pub const PAGE: &str = "report.html";
/// The same as Markdown.
pub const TEXT: &str = "report.md";
/// All figures, for programs.
pub const DATA: &str = "metrics.json";

/// A report in all of its forms.
#[derive(Debug, Clone)]
pub struct Report {
    /// What it says.
    pub document: Document,
    /// All figures, for programs.
    pub json: String,
}

impl Report {
    /// Of an evaluation; with `examples`, the images behind the predictions, it shows some of them.
    ///
    /// # Errors
    /// [`JudgeError::Internal`].
    pub fn of_evaluation(evaluation: &Evaluation, examples: &[Example]) -> Result<Self, JudgeError> {
        #[derive(Serialize)]
        struct Data<'a> {
            #[serde(flatten)]
            evaluation: &'a Evaluation,
            definitions: std::collections::BTreeMap<&'static str, String>,
        }
        let gallery = if examples.is_empty() { vec![] } else { gallery::best_and_worst(examples, &evaluation.judged) };
        let definitions = Measure::ALL.into_iter().map(|m| (m.key(), m.definition(&evaluation.rules))).collect();
        let json = json(&Data { evaluation, definitions })?;
        Ok(Self { document: self::evaluation::document(evaluation, gallery), json })
    }

    /// Of a comparison.
    ///
    /// # Errors
    /// [`JudgeError::Internal`].
    pub fn of_comparison(comparison: &Comparison) -> Result<Self, JudgeError> {
        #[derive(Serialize)]
        struct Data<'a> {
            #[serde(flatten)]
            comparison: &'a Comparison,
            published: &'a [super::evaluate::compare::Published],
            definitions: std::collections::BTreeMap<&'static str, String>,
        }
        let definitions = Measure::ALL.into_iter().map(|m| (m.key(), m.definition(&comparison.rules))).collect();
        let json = json(&Data { comparison, published: &PUBLISHED, definitions })?;
        Ok(Self { document: self::comparison::document(comparison), json })
    }

    /// The page.
    pub fn html(&self) -> String {
        html::page(&self.document)
    }

    /// The Markdown.
    pub fn markdown(&self) -> String {
        markdown::text(&self.document)
    }

    /// Writes page, Markdown and JSON into a directory, which is made where it is missing.
    ///
    /// # Errors
    /// [`JudgeError::File`].
    pub fn write(&self, dir: &Path) -> Result<(), JudgeError> {
        std::fs::create_dir_all(dir).map_err(JudgeError::file(dir))?;
        for (name, text) in [(PAGE, self.html()), (TEXT, self.markdown()), (DATA, self.json.clone())] {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(JudgeError::file(&path))?;
        }
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<String, JudgeError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| JudgeError::Internal(e.to_string()))?;
    Ok(text + "\n")
}
