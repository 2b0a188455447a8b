//! What a bundle says about itself: the model card `README.md` and the files under `report/`.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::TrainError;
use super::assemble::{DEFAULT_TAG, Provenance};
use super::export::Parity;
use super::message::EpochRecord;
use super::metrics::Figures;

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
    let t = &results.test;
    format!(
        "test: PLCC {:.3}, SRCC {:.3}, within tags {:.3}, pairs right {:.3}; with shuffled tags SRCC {:.3}. Largest difference \
         between training and export: image {:.1e}, text {:.1e}, score {:.1e}",
        t.plcc,
        t.srcc,
        t.within_tag_srcc,
        t.pair_accuracy,
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
    let machine = json!({
        "metrics": results.metrics(),
        "definitions": definitions(provenance),
        "counts": {
            "test_images": results.test.n, "test_tags": results.test.tags, "test_pairs": results.test.pairs,
            "validation_images": results.validation.n,
        },
        "epochs": results.epochs,
    });
    let machine = serde_json::to_string_pretty(&machine).map_err(|e| TrainError::Internal(e.to_string()))?;
    Ok(vec![
        ("README.md".to_owned(), card(results, provenance).into_bytes()),
        ("report/metrics.json".to_owned(), (machine + "\n").into_bytes()),
        ("report/report.md".to_owned(), report(results, provenance).into_bytes()),
    ])
}

/// What each figure means.
fn definitions(provenance: &Provenance) -> BTreeMap<&'static str, String> {
    let tie = provenance.options.tie_threshold;
    BTreeMap::from([
        ("error", "mean and population standard deviation of |prediction - truth|, in score units".to_owned()),
        ("plcc", "Pearson's correlation".to_owned()),
        ("srcc", "Spearman's correlation with average ranks for ties".to_owned()),
        (
            "within_tag_srcc",
            "Spearman's correlation of each tag's images, averaged over the tags with at least three".to_owned(),
        ),
        (
            "pair_accuracy",
            format!(
                "share of pairs of one tag, scores more than {tie} apart, in the right order; equal predictions count half"
            ),
        ),
        (
            "shuffled tags",
            "every tag replaced by another one of the test's tags, the same for all its images".to_owned(),
        ),
        ("tag_retrieval", "share of test images whose own tag is the most similar of all test tags".to_owned()),
    ])
}

fn report(results: &Results, provenance: &Provenance) -> String {
    let mut text = format!(
        "# Evaluation of `{}`\n\nComputed by the scorer's own code on the exported graphs.\n\n{}\n",
        provenance.name,
        results.table()
    );
    let (found, chance) = (100.0 * results.retrieval, 100.0 * results.chance);
    let _ = writeln!(text, "Own tag most similar: {found:.1} % of the test images, {chance:.1} % by chance.\n");
    text.push_str("## What the figures mean\n\n");
    for (name, meaning) in definitions(provenance) {
        let _ = writeln!(text, "- {name}: {meaning}.");
    }
    text.push_str("\n## Course of the training\n\n");
    text.push_str("| epoch | loss | ranking | squared error | validation SRCC | within tags | best |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for e in &results.epochs {
        let mark = if e.best { "yes" } else { "" };
        let _ = writeln!(
            text,
            "| {} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {mark} |",
            e.epoch, e.loss, e.ranking, e.squared_error, e.srcc, e.within_tag_srcc
        );
    }
    text
}

fn card(results: &Results, provenance: &Provenance) -> String {
    let Provenance { name, data, about, scale, split, examples: [train, validation, test], tags, command, .. } =
        provenance;
    let megabytes = results.graph_bytes as f64 / 1e6;
    let millions = results.parameters as f64 / 1e6;
    let gain = results.test.srcc - results.shuffled.srcc;
    let verdict = if gain > 0.02 {
        format!("Right tags beat shuffled ones by {gain:.3} in SRCC: the tag matters.")
    } else {
        format!(
            "Right tags are no better than shuffled ones (SRCC {gain:+.3}): these data give the model little to learn from the \
             tag, and its scores judge how well a picture is made, not how well it shows what the tag says."
        )
    };
    let retrieval = format!("{:.1} % against {:.1} % by chance", 100.0 * results.retrieval, 100.0 * results.chance);
    format!(
        "# {name}\n\n\
         Scores a picture under a text tag. {millions:.2} million learned values, graphs of {megabytes:.1} MB, inputs of \
         {size} x {size} pixels cut from the centre of the picture after its short side was resized to {short} pixels.\n\n\
         ## What it can judge, and what it cannot\n\n\
         - Scores follow \"{unit}\", from {min} to {max}. They rank pictures of the same tag; a single score alone says little.\n\
         - It learned from {train} rated (picture, tag) examples. {about} It sees sharpness, noise, artefacts, contrast and \
         colour; its scores of other kinds of pictures are extrapolations.\n\
         - {verdict}\n\
         - The text side knows the words of its {n_tags} training tags only. Any text is accepted, but other words carry \
         little meaning. Without a tag, pictures are scored under \"{DEFAULT_TAG}\".\n\
         - Similarity finds a test picture's own tag for {retrieval}. It is no general search.\n\
         - Only the centre square is seen: what happens at the borders of a wide picture does not count.\n\n\
         ## Figures\n\n{table}\n\
         Computed on the exported graphs by the scorer's own code; definitions in `report/report.md`.\n\n\
         ## Data\n\n\
         {data_name}, licence {licence}. {about} {train} examples to train on, {validation} to choose the epoch and the input's size, \
         {test} to test; divided {split}. SHA-256 of the sorted (content id, tag, score) rows: `{sha}`. No picture of the data \
         is in this bundle; the goldens are drawn by edge-trainer.\n\n\
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
        data_name = data.name,
        licence = data.licence,
        sha = data.sha256,
    )
}
