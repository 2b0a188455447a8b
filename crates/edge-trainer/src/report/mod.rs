//! Reports about models, as HTML pages, Markdown and JSON, and the documents inside a bundle.
//!
//! [`document`] is the common structure of all reports. `html` and `markdown` write it, `chart` draws charts.
//! `evaluation`, `comparison` and, for a bundle, `card` choose the content. Reports only format figures; they compute
//! none.

mod card;
mod chart;
mod comparison;
mod conditions;
pub mod document;
mod evaluation;
mod gallery;
mod html;
mod markdown;
mod markup;
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

pub use card::{Results, files, summary};

use crate::dataset::Example;
use crate::evaluate::compare::{Comparison, PUBLISHED, PublishedRow};
use crate::evaluate::{Evaluation, JudgeError};
use crate::file_error::FileError;
use crate::metrics::{Measure, Rules};
use document::Document;

/// File name of the HTML page.
pub const PAGE: &str = "report.html";
/// File name of the Markdown text.
pub const TEXT: &str = "report.md";
/// File name of the JSON figures.
pub const DATA: &str = "metrics.json";

/// A report in all formats.
#[derive(Debug, Clone)]
pub struct Report {
    /// Content of the page and of the Markdown text.
    pub document: Document,
    /// All figures as JSON.
    pub json: String,
}

impl Report {
    /// Creates the report of an evaluation. `examples` are the judged images. The page shows some of them, or no images
    /// if `examples` is empty.
    ///
    /// # Errors
    /// [`JudgeError::Internal`].
    pub fn of_evaluation(evaluation: &Evaluation, examples: &[Example]) -> Result<Self, JudgeError> {
        #[derive(Serialize)]
        struct Data<'a> {
            #[serde(flatten)]
            evaluation: &'a Evaluation,
            definitions: BTreeMap<&'static str, String>,
        }
        let gallery = if examples.is_empty() { vec![] } else { gallery::best_and_worst(examples, &evaluation.judged) };
        let json = json(&Data { evaluation, definitions: definitions(&evaluation.rules) })?;
        Ok(Self { document: self::evaluation::document(evaluation, gallery), json })
    }

    /// Creates the report of a comparison.
    ///
    /// # Errors
    /// [`JudgeError::Internal`].
    pub fn of_comparison(comparison: &Comparison) -> Result<Self, JudgeError> {
        #[derive(Serialize)]
        struct Data<'a> {
            #[serde(flatten)]
            comparison: &'a Comparison,
            published: &'a [PublishedRow],
            definitions: BTreeMap<&'static str, String>,
        }
        let definitions = definitions(&comparison.rules);
        let json = json(&Data { comparison, published: &PUBLISHED, definitions })?;
        Ok(Self { document: self::comparison::document(comparison), json })
    }

    /// Returns the HTML page.
    pub fn html(&self) -> String {
        html::page(&self.document)
    }

    /// Returns the Markdown text.
    pub fn markdown(&self) -> String {
        markdown::text(&self.document)
    }

    /// Writes page, Markdown text and JSON into a directory, which is created if it is missing.
    ///
    /// # Errors
    /// [`JudgeError::File`].
    pub fn write(&self, dir: &Path) -> Result<(), JudgeError> {
        std::fs::create_dir_all(dir).map_err(FileError::at(dir))?;
        for (name, text) in [(PAGE, self.html()), (TEXT, self.markdown()), (DATA, self.json.clone())] {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(FileError::at(&path))?;
        }
        Ok(())
    }
}

fn definitions(rules: &Rules) -> BTreeMap<&'static str, String> {
    Measure::ALL.into_iter().map(|m| (m.key(), m.definition(rules))).collect()
}

fn json(value: &impl Serialize) -> Result<String, JudgeError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| JudgeError::Internal(e.to_string()))?;
    Ok(text + "\n")
}
