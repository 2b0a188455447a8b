//! The documents inside a bundle: the model card `README.md` and the files below `report/`. None of them shows an
//! image.

use std::collections::BTreeMap;
use std::fmt::Write;

use edge_model::bundle::manifest::DataRecord;
use serde_json::json;

use super::words::{estimate, number};
use super::{DATA, PAGE, Report, TEXT, evaluation};
use crate::assemble::{DEFAULT_TAG, Provenance};
use crate::evaluate::{DataSetRow, Evaluation, JudgeError, ScoreError, Suggestions};
use crate::export::Parity;
use crate::features::UnseenRow;
use crate::message::EpochRecord;
use crate::metrics::{Figures, Measure};

/// Smallest number of tag pairs for which the model card states how many are in the right order.
const MIN_TAG_PAIRS: usize = 20;

/// Largest number of wrong suggestions that the model card names.
const SHOWN_SUGGESTIONS: usize = 8;

/// The figures of a training that the bundle's documents state.
#[derive(Debug, Clone)]
pub struct Results {
    /// Figures on the validation images.
    pub validation: Figures,
    /// Figures on the test images under their own tags.
    pub test: Figures,
    /// Figures on the test images, each under another image's tag.
    pub shuffled: Figures,
    /// Figures on the test images, all under the default tag.
    pub default_tag: Figures,
    /// Share of the test images whose own tag has the highest similarity of all test tags.
    pub retrieval: f64,
    /// The share `retrieval` that a random choice of tag would reach.
    pub chance: f64,
    /// Number of plain tags that the model can suggest; 0 if it knows its training tags only.
    pub vocabulary: usize,
    /// Suggested tags of the test photographs.
    pub suggestions: Suggestions,
    /// Test images with the largest errors.
    pub largest_errors: Vec<ScoreError>,
    /// Figures of a fitted image encoder on kinds of images that it was not fitted to.
    pub unseen: Vec<UnseenRow>,
    /// Time of the image encoder for one image on one thread, in milliseconds.
    pub milliseconds: f64,
    /// The evaluation on the test images: figures with intervals, in total and by data set, tag and condition.
    pub evaluation: Evaluation,
    /// Losses and validation figures of each epoch.
    pub epochs: Vec<EpochRecord>,
    /// The views of an image that the encoder gets, in words.
    pub views: Vec<String>,
    /// Whether the centre is the only view.
    pub sees_centre_only: bool,
    /// Number of learned values in the model.
    pub parameters: u64,
    /// Size of the three graphs together in bytes.
    pub graph_bytes: usize,
}

impl Results {
    /// Returns the figures that the bundle's manifest holds, by name.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let rows = [
            ("validation", &self.validation),
            ("test", &self.test),
            ("test_shuffled_tags", &self.shuffled),
            ("test_default_tag", &self.default_tag),
        ];
        let mut all: BTreeMap<String, f64> = rows.into_iter().flat_map(|(name, f)| f.named(name)).collect();
        for measure in [Measure::Kl, Measure::Emd, Measure::Wasserstein] {
            let value = self.evaluation.right_tags[measure.key()].value;
            all.extend(value.is_finite().then(|| (format!("test.{}", measure.key()), value)));
        }
        for row in &self.evaluation.data_sets {
            let within = Measure::WithinTagSrcc.key();
            let figures = [
                ("srcc", row.right_tags[Measure::Srcc.key()].value),
                ("within_tag_srcc", row.right_tags[within].value),
                ("within_tag_srcc_right_minus_shuffled", row.right_minus_shuffled[within].value),
                ("within_condition_srcc", row.within_conditions),
                ("tag_order", row.tag_order),
                ("percentile_distance", row.percentile_distance),
            ];
            let part =
                if self.evaluation.data_sets.len() > 1 { format!("test[{}]", row.name) } else { "test".to_owned() };
            let named = figures.into_iter().map(|(name, value)| (format!("{part}.{name}"), value));
            all.extend(named.filter(|(_, value)| value.is_finite()));
        }
        let Suggestions { photographs, right, .. } = self.suggestions;
        if photographs > 0 {
            all.insert("test.first_suggestion_right".to_owned(), right as f64 / photographs as f64);
        }
        all.insert("test.tag_retrieval".to_owned(), self.retrieval);
        all.insert("test.tag_retrieval_by_chance".to_owned(), self.chance);
        all
    }

    /// Returns the table of figures as Markdown.
    fn table(&self) -> String {
        let mut text = String::from(
            "| images and tags | n | PLCC | SRCC | SRCC within tags | pairs right | error, mean ± std |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        let default = format!("test, all under \"{DEFAULT_TAG}\"");
        let rows = [
            ("validation, own tags", &self.validation),
            ("test, own tags", &self.test),
            ("test, shuffled tags", &self.shuffled),
            (default.as_str(), &self.default_tag),
        ];
        for (name, f) in rows {
            let Figures { n, plcc, srcc, within_tag_srcc, pair_accuracy, error_mean, error_std, .. } = f;
            let _ = writeln!(
                text,
                "| {name} | {n} | {plcc:.3} | {srcc:.3} | {within_tag_srcc:.3} | {pair_accuracy:.3} | {error_mean:.3} \
                 ± {error_std:.3} |"
            );
        }
        text
    }
}

/// Returns one sentence with the main figures.
pub fn summary(results: &Results, parity: Parity) -> String {
    format!(
        "test: {}; with shuffled tags SRCC {:.3}. Largest differences between training and export: image {:.1e}, text \
         {:.1e}, score {:.1e}",
        evaluation::summary(&results.evaluation),
        results.shuffled.srcc,
        parity.image_embedding,
        parity.text_embedding,
        parity.score
    )
}

/// Returns name and content of each document.
///
/// # Errors
/// [`JudgeError::Internal`].
pub fn files(results: &Results, provenance: &Provenance) -> Result<Vec<(String, Vec<u8>)>, JudgeError> {
    let report = Report::of_evaluation(&results.evaluation, &[])?;
    let internal = |e: serde_json::Error| JudgeError::Internal(e.to_string());
    let figures = json!({
        "metrics": results.metrics(),
        "unseen": results.unseen,
        "milliseconds": results.milliseconds,
        "counts": {
            "test_images": results.test.n, "test_tags": results.test.tags, "test_pairs": results.test.pairs,
            "validation_images": results.validation.n,
        },
        "epochs": results.epochs,
        "test": serde_json::from_str::<serde_json::Value>(&report.json).map_err(internal)?,
    });
    let figures = serde_json::to_string_pretty(&figures).map_err(internal)?;
    Ok(vec![
        ("README.md".to_owned(), card(results, provenance).into_bytes()),
        (format!("report/{DATA}"), (figures + "\n").into_bytes()),
        (format!("report/{TEXT}"), report.markdown().into_bytes()),
        (format!("report/{PAGE}"), report.html().into_bytes()),
    ])
}

/// Returns the model card as Markdown.
fn card(results: &Results, provenance: &Provenance) -> String {
    let Provenance { name, data, about, scale, split, examples: [train, validation, test], tags, command, .. } =
        provenance;
    let megabytes = results.graph_bytes as f64 / 1e6;
    let millions = results.parameters as f64 / 1e6;
    let verdicts: String =
        results.evaluation.data_sets.iter().map(|row| verdict(row, results.vocabulary > 0)).collect();
    let (found, chance) = (100.0 * results.retrieval, 100.0 * results.chance);
    format!(
        "# {name}\n\n\
         Scores a picture under a text tag. The model has {millions:.2} million learned values and graphs of \
         {megabytes:.1} MB. Its input is {views}.\n\n\
         ## Capabilities and limits\n\n\
         - Scores follow \"{unit}\", from {min} to {max}. They rank pictures of the same tag. A single score says \
         little by itself.\n\
         - The model learned from {train} rated (picture, tag) examples. {about} It responds to sharpness, noise, \
         artefacts, contrast and colour{content}. Its scores of other kinds of pictures are extrapolations.\n\
         {verdicts}\
         {words}\
         - A picture's own tag has the highest similarity of all test tags for {found:.1} % of the test pictures; by \
         chance it would be {chance:.1} %. Similarity is not a general search.\n\
         {centre_only}{failures}\
         - The model must not be used to judge people or their work, as the only reason to delete a picture, or to \
         compare pictures of different tags. It does not measure whether a subject is worth showing.\n\n\
         ## Figures\n\n{table}\n{data_sets}\n{unseen}\
         The figures are computed by the scorer on the exported graphs. `report/report.md` holds the definitions and \
         the figures by tag and by condition. The image encoder needs {milliseconds:.0} ms per image on one thread \
         of the training machine.\n\n\
         ## Data\n\n\
         {about} {train} examples for training, {validation} to choose the epoch, {test} for the test; divided \
         {split}. This bundle contains no picture of the data; edge-trainer draws the goldens.\n\n{records}\n\
         ## How to rebuild the bundle\n\n```sh\n{command}\n```\n\n\
         The same command on the same data repeats the division and every random choice. Sums that several threads \
         compute together may still be rounded differently.\n",
        views = results.views.join(", and "),
        centre_only = if results.sees_centre_only {
            "- Only the centre square is used. The borders of a wide picture have no influence.\n"
        } else {
            ""
        },
        unit = scale.unit,
        min = scale.min,
        max = scale.max,
        content = if results.vocabulary > 0 { ", and to what the tag names" } else { "" },
        words = words(results, tags.len()),
        failures = failures(results),
        table = results.table(),
        data_sets = data_sets(&results.evaluation.data_sets),
        unseen = unseen(&results.unseen),
        milliseconds = results.milliseconds,
        records = data.iter().map(record).collect::<String>(),
    )
}

/// Returns a list item on the words that the model knows.
fn words(results: &Results, training_tags: usize) -> String {
    let without = format!("Pictures without a tag are scored under \"{DEFAULT_TAG}\".");
    if results.vocabulary == 0 {
        return format!(
            "- The text encoder knows only the words of its {training_tags} training tags. Any text is accepted, but \
             other words carry little meaning. {without}\n"
        );
    }
    let Suggestions { photographs, right, wrong } = &results.suggestions;
    let tags = results.vocabulary;
    let mut text = format!(
        "- Any English text is a tag. Plain names of things serve best, such as \"dog\" or \"sailing boat\": pictures \
         that show them come first, the best made ones at the top. A sentence changes the order less. {without}\n\
         - The model can suggest {tags} plain tags."
    );
    if *photographs > 0 {
        let share = 100.0 * *right as f64 / *photographs as f64;
        let _ = write!(
            text,
            " For {share:.0} % of {photographs} undamaged test photographs the first one is a name of what they show."
        );
    }
    let examples: Vec<String> = spread(wrong, SHOWN_SUGGESTIONS)
        .map(|(names, tag)| format!("\"{tag}\" for a picture of \"{}\"", names.join("\", \"")))
        .collect();
    if !examples.is_empty() {
        let _ = write!(text, " Wrong ones are: {}.", examples.join("; "));
    }
    text + "\n"
}

/// Returns a list item with the largest errors; empty without any.
fn failures(results: &Results) -> String {
    let of = |ScoreError { file, judged }: &ScoreError| {
        format!("`{file}` (\"{}\") is rated {:.2} and scored {:.2}", judged.tag, judged.truth, judged.prediction)
    };
    match results.largest_errors.iter().map(of).collect::<Vec<_>>() {
        errors if errors.is_empty() => String::new(),
        errors => format!("- The largest errors on the first data set: {}.\n", errors.join("; ")),
    }
}

/// Returns at most `most` items, evenly spaced.
fn spread<T>(items: &[T], most: usize) -> impl Iterator<Item = &T> {
    items.iter().step_by(items.len().div_ceil(most).max(1))
}

/// Returns a list item on whether the tag matters on a data set. `knows_content` is whether the model tells what pictures show.
fn verdict(row: &DataSetRow, knows_content: bool) -> String {
    let gain = row.right_minus_shuffled[Measure::WithinTagSrcc.key()].value;
    let name = &row.name;
    let gain = if gain > 0.02 {
        format!("the SRCC within tags is higher by {gain:.3} with right tags than with shuffled tags: the tag matters.")
    } else if knows_content {
        format!(
            "the order within a tag is that of how well the pictures are made, under right tags as under shuffled ones \
             (SRCC {gain:+.3}): the pictures of a tag all show it."
        )
    } else {
        format!(
            "the SRCC within tags is not clearly higher with right tags than with shuffled tags ({gain:+.3}): these \
             data teach the model little about the tag. The model's scores judge how well a picture is made, not how \
             well it shows the tag."
        )
    };
    let order = match row.tag_pairs {
        pairs if pairs < MIN_TAG_PAIRS => String::new(),
        pairs => {
            let share = 100.0 * row.tag_order;
            format!(
                " Of two tags of one picture, the model ranks the better one first in {share:.1} % of {pairs} pairs."
            )
        }
    };
    format!("- On the test images of {name}, {gain}{order}\n")
}

/// Returns the table of data sets as Markdown.
fn data_sets(rows: &[DataSetRow]) -> String {
    let mut text = String::from(
        "| test images of | n | SRCC | SRCC within tags | SRCC within conditions | distance of percentiles to uniform \
         |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let figure = |measure: Measure| estimate(&row.right_tags[measure.key()]);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.3} |",
            row.name,
            row.n,
            figure(Measure::Srcc),
            figure(Measure::WithinTagSrcc),
            number(row.within_conditions),
            row.percentile_distance
        );
    }
    text + "\nA condition describes how images were made, such as a generator and its setting. The last column is \
            Kolmogorov's distance.\n"
}

/// Returns the table of unseen kinds of images as Markdown; empty without rows.
fn unseen(rows: &[UnseenRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "SRCC of the fitted image encoder on training and validation images, by the kind of image. Each image is \
         scored by a fit without its group (kind known), and by a fit without any image of its kind (kind unseen):\n\n\
         | kind | n | kind known | kind unseen |\n| --- | --- | --- | --- |\n",
    );
    for UnseenRow { name, n, known, unseen } in rows {
        let _ = writeln!(text, "| {name} | {n} | {known:.3} | {unseen:.3} |");
    }
    text + "\n"
}

/// Returns a list item that identifies a data set.
fn record(data: &DataRecord) -> String {
    let DataRecord { name, licence, sha256 } = data;
    format!("- {name}, licence {licence}; SHA-256 of the sorted (content id, tag, score) rows `{sha256}`\n")
}
