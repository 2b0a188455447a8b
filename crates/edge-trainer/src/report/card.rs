//! What a bundle says about itself: the model card `README.md` and the files under `report/`, none of which shows an
//! image.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::words::{estimate, number};
use super::{Report, evaluation};
use crate::TrainError;
use crate::assemble::{DEFAULT_TAG, Provenance};
use crate::evaluate::{DataSetRow, Evaluation};
use crate::export::Parity;
use crate::features::UnseenRow;
use crate::message::EpochRecord;
use crate::metrics::{Figures, Measure};
use edge_model::bundle::manifest::DataRecord;

/// Pairs of tags that a share is worth stating of.
const FEWEST_PAIRS: usize = 20;

/// All figures of a training.
#[derive(Debug, Clone)]
pub struct Results {
    /// On the images that decided when to stop.
    pub validation: Figures,
    /// On the test images under their own tags.
    pub test: Figures,
    /// The same images, each under another image's tag.
    pub shuffled: Figures,
    /// The same images, all under the default tag.
    pub default_tag: Figures,
    /// Share of test images whose own tag is the most similar of all test tags.
    pub retrieval: f64,
    /// The share that chance gives.
    pub chance: f64,
    /// How an encoder that was fitted does on kinds of images that it was not fitted to.
    pub unseen: Vec<UnseenRow>,
    /// Time for one picture, in milliseconds.
    pub milliseconds: f64,
    /// The test images' figures with their intervals.
    pub evaluation: Evaluation,
    /// The course of the training.
    pub epochs: Vec<EpochRecord>,
    /// Side of the image encoder's input.
    pub size_px: u32,
    /// Learned values.
    pub parameters: u64,
    /// Bytes of the three graphs.
    pub graph_bytes: usize,
}

impl Results {
    /// The figures by name, as the manifest holds them.
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
        all.insert("test.tag_retrieval".to_owned(), self.retrieval);
        all.insert("test.tag_retrieval_by_chance".to_owned(), self.chance);
        all
    }

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
                "| {name} | {n} | {plcc:.3} | {srcc:.3} | {within_tag_srcc:.3} | {pair_accuracy:.3} | \
                 {error_mean:.3} ± {error_std:.3} |"
            );
        }
        text
    }
}

/// One sentence with the main figures.
pub fn summary(results: &Results, parity: Parity) -> String {
    format!(
        "test: {}; with shuffled tags SRCC {:.3}. Largest difference between training and export: image {:.1e}, text \
         {:.1e}, score {:.1e}",
        evaluation::summary(&results.evaluation),
        results.shuffled.srcc,
        parity.image_embedding,
        parity.text_embedding,
        parity.score
    )
}

/// The bundle's own documents: name and bytes.
///
/// # Errors
/// [`TrainError::Internal`].
pub fn files(results: &Results, provenance: &Provenance) -> Result<Vec<(String, Vec<u8>)>, TrainError> {
    let report = Report::of_evaluation(&results.evaluation, &[])?;
    let internal = |e: serde_json::Error| TrainError::Internal(e.to_string());
    let machine = json!({
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
    let machine = serde_json::to_string_pretty(&machine).map_err(internal)?;
    Ok(vec![
        ("README.md".to_owned(), card(results, provenance).into_bytes()),
        (format!("report/{}", super::DATA), (machine + "\n").into_bytes()),
        (format!("report/{}", super::TEXT), report.markdown().into_bytes()),
        (format!("report/{}", super::PAGE), report.html().into_bytes()),
    ])
}

fn card(results: &Results, provenance: &Provenance) -> String {
    let Provenance { name, data, about, scale, split, examples: [train, validation, test], tags, command, .. } =
        provenance;
    let megabytes = results.graph_bytes as f64 / 1e6;
    let millions = results.parameters as f64 / 1e6;
    let verdicts: String = results.evaluation.data_sets.iter().map(verdict).collect();
    let retrieval = format!("{:.1} % against {:.1} % by chance", 100.0 * results.retrieval, 100.0 * results.chance);
    format!(
        "# {name}\n\n\
         Scores a picture under a text tag. {millions:.2} million learned values, graphs of {megabytes:.1} MB, inputs of \
         {size} x {size} pixels cut from the centre of the picture after its short side was resized to {short} pixels.\n\n\
         ## What it can judge, and what it cannot\n\n\
         - Scores follow \"{unit}\", from {min} to {max}. They rank pictures of the same tag; a single score alone says little.\n\
         - It learned from {train} rated (picture, tag) examples. {about} It sees sharpness, noise, artefacts, contrast and \
         colour; its scores of other kinds of pictures are extrapolations.\n\
         {verdicts}\
         - The text side knows the words of its {n_tags} training tags only. Any text is accepted, but other words carry \
         little meaning. Without a tag, pictures are scored under \"{DEFAULT_TAG}\".\n\
         - Similarity finds a test picture's own tag for {retrieval}. It is no general search.\n\
         - Only the centre square is seen: what happens at the borders of a wide picture does not count.\n\
         - It must not be used to judge people or their work, as the only reason to delete a picture, or to compare pictures \
         across tags: what is worth showing is not measured here.\n\n\
         ## Figures\n\n{table}\n{data_sets}\n{unseen}\
         Computed on the exported graphs by the scorer's own code; definitions, and the figures by tag and by condition, in \
         `report/report.md`. A picture takes the image encoder {milliseconds:.0} ms on one thread of the machine that it was \
         trained on.\n\n\
         ## Data\n\n\
         {about} {train} examples to train on, {validation} to choose the epoch, {test} to test; divided {split}. No picture of \
         the data is in this bundle; the goldens are drawn by edge-trainer.\n\n{records}\n\
         ## How to rebuild it\n\n```sh\n{command}\n```\n\n\
         The same command on the same data repeats the division and every random choice; rounding in sums that several threads \
         share may still differ.\n",
        size = results.size_px,
        short = provenance.options.resize_short_px,
        unit = scale.unit,
        min = scale.min,
        max = scale.max,
        n_tags = tags.len(),
        table = results.table(),
        data_sets = data_sets(&results.evaluation.data_sets),
        unseen = unseen(&results.unseen),
        milliseconds = results.milliseconds,
        records = data.iter().map(record).collect::<String>(),
    )
}

/// What the tag counts on a data set.
fn verdict(row: &DataSetRow) -> String {
    let gain = row.right_minus_shuffled[Measure::WithinTagSrcc.key()].value;
    let name = &row.name;
    let gain = if gain > 0.02 {
        format!("right tags beat shuffled ones by {gain:.3} in SRCC within tags: the tag matters.")
    } else {
        format!(
            "right tags are no better than shuffled ones (SRCC within tags {gain:+.3}): these data give the model little to learn \
             from the tag, and its scores judge how well a picture is made, not how well it shows what the tag says."
        )
    };
    let order = match row.tag_pairs {
        pairs if pairs < FEWEST_PAIRS => String::new(),
        pairs => {
            let share = 100.0 * row.tag_order;
            format!(" Of two tags for one picture the better one is put first in {share:.1} % of {pairs} pairs.")
        }
    };
    format!("- On the test images of {name}, {gain}{order}\n")
}

fn data_sets(rows: &[DataSetRow]) -> String {
    let mut text = String::from(
        "| test images of | n | SRCC | SRCC within tags | within conditions | percentiles to an even spread |\n\
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
    text + "\nConditions are what images were made under, such as a generator and its setting; the last column is Kolmogorov's \
            distance.\n"
}

fn unseen(rows: &[UnseenRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "SRCC of training and validation images by what made them, as answered before head and tag, without the image's group and \
         without all images of the kind:\n\n| made by | n | kind known | kind unseen |\n| --- | --- | --- | --- |\n",
    );
    for UnseenRow { name, n, known, unseen } in rows {
        let _ = writeln!(text, "| {name} | {n} | {known:.3} | {unseen:.3} |");
    }
    text + "\n"
}

fn record(data: &DataRecord) -> String {
    let DataRecord { name, licence, sha256 } = data;
    format!("- {name}, licence {licence}; SHA-256 of the sorted (content id, tag, score) rows `{sha256}`\n")
}
