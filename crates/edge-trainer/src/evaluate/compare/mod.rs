//! `edge-trainer compare`: several ways to score, judged on the same images, each against a reference.
//!
//! A way to score is a [`Row`]: a name and one prediction per test image. Where the predictions come from, a bundle or a probe, is
//! the row's own business, so that one `rows.push(Row::...)` adds another. Networks come as bundles: [`crate::rows`] trains those
//! of the published table.

mod linear;
mod row;

use std::path::PathBuf;

use serde::Serialize;

pub use linear::{Line, Ridge};
pub use row::{Ground, Row};

use super::choice::{self, DataName, Division};
use super::evaluation::{Bootstrap, Measures, differences, measure_all, resampling};
use super::run::{open, rules};
use super::{JudgeError, distinct_tags, embed};
use crate::dataset::{Example, Part};
use crate::message::Listener;
use crate::metrics::{Judged, Rules};
use edge_model::backend::DeviceChoice;
use edge_model::scorer::Scorer;

/// Training images that the linear probe is fitted on, at most: evenly taken, they determine its few weights well.
const PROBE_IMAGES: usize = 20_000;

/// What to compare.
#[derive(Debug, Clone)]
pub struct CompareRequest {
    /// The bundles by name; the first one is the reference and lends its embeddings to the rows without a network.
    pub models: Vec<(String, PathBuf)>,
    /// The data, see [`crate::dataset::read`].
    pub data: String,
    /// Seed of the bootstrap and the shuffled tags; none: the first bundle's own.
    pub seed: Option<u64>,
    /// Number of bootstrap replicates.
    pub replicates: usize,
    /// Largest share of unreadable or missing images.
    pub max_bad_fraction: f64,
    /// Where the graphs run.
    pub device: DeviceChoice,
}

/// One row of the comparison in figures.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// The row's name.
    pub name: String,
    /// Where its predictions come from, in a sentence.
    pub how: String,
    /// Its figures.
    pub measures: Measures,
    /// Its figures minus the reference's, on the same replicates; none for the reference itself.
    pub minus_reference: Option<Measures>,
    /// Its predictions, in the order of the test images.
    #[serde(skip)]
    pub judged: Vec<Judged>,
}

/// Several rows on the same test images.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The data.
    pub data: DataName,
    /// Which images were judged, in sentences.
    pub images: Vec<String>,
    /// Number of judged (image, tag) pairs.
    pub n: usize,
    /// Number of their tags.
    pub tags: usize,
    /// What the measures were told.
    pub rules: Rules,
    /// The bootstrap.
    pub bootstrap: Bootstrap,
    /// Name of the reference row.
    pub reference: String,
    /// The rows, the reference first.
    pub rows: Vec<Compared>,
}

/// Judges the bundles and the rows that need no training of a network.
///
/// # Errors
/// [`JudgeError`].
pub fn compare(request: &CompareRequest, listener: &mut dyn Listener) -> Result<Comparison, JudgeError> {
    refuse_equal_names(&request.models)?;
    let mut models = Vec::new();
    for (name, dir) in &request.models {
        models.push((name.as_str(), open(dir, request.device)?));
    }
    let Some((first_name, first)) = models.first() else {
        return Err(JudgeError::Request("there is nothing to compare: give --model NAME=DIR".to_owned()));
    };
    let (data, examples) = choice::read((first.bundle(), &request.data), request.max_bad_fraction, listener)?;
    let name = choice::name(&data, &examples, first.manifest());
    let parts = choice::divide(first.bundle(), data.test_share, examples.clone())?;
    let bootstrap = Bootstrap::new(request.replicates, request.seed.unwrap_or(first.manifest().training.seed));

    let stride = parts.train.len().div_ceil(PROBE_IMAGES).max(1);
    let train: Vec<Example> = parts.train.iter().step_by(stride).cloned().collect();
    let ground = Ground {
        scorer: first,
        train: &embed(first, &train, &format!("training images, {first_name}"), listener)?,
        validation: &embed(first, &parts.validation, &format!("validation images, {first_name}"), listener)?,
        test: &embed(first, &parts.test, &format!("test images, {first_name}"), listener)?,
    };
    let mut rows = Vec::new();
    for (name, scorer) in &models {
        rows.extend(rows_of(name, scorer, &ground, bootstrap.seed, listener)?);
    }
    rows.push(Row::linear_probe(&ground)?);
    rows.push(Row::zero_shot(&ground)?);

    let mut comparison = judge(rows, &parts.test, name, rules(first.bundle()), bootstrap)?;
    comparison.images = choice::choose(
        first.bundle(),
        (comparison.data.clone(), data.test_share),
        examples,
        choice::Which::Only(Part::Test),
    )?
    .how;
    comparison.images.extend(models[1..].iter().filter_map(|(name, scorer)| doubt(name, scorer, first)));
    Ok(comparison)
}

fn refuse_equal_names(models: &[(String, PathBuf)]) -> Result<(), JudgeError> {
    for (i, (name, _)) in models.iter().enumerate() {
        if models[..i].iter().any(|(earlier, _)| earlier == name) {
            return Err(JudgeError::Request(format!(
                "--model {name}=... is given twice: give each bundle a name of its own"
            )));
        }
    }
    Ok(())
}

/// The rows of a bundle: under the right tags and under shuffled ones. Bundles of one image encoder share embeddings.
fn rows_of(
    name: &str,
    scorer: &Scorer,
    ground: &Ground<'_>,
    seed: u64,
    listener: &mut dyn Listener,
) -> Result<[Row; 2], JudgeError> {
    let own;
    let test = if scorer.encoder_digest() == ground.scorer.encoder_digest() {
        ground.test
    } else {
        own = embed(scorer, ground.test.examples, &format!("test images, {name}"), listener)?;
        &own
    };
    Ok([Row::bundle(name, scorer, test)?, Row::shuffled(name, scorer, test, seed)?])
}

/// Why a bundle may have seen the test images.
fn doubt(name: &str, scorer: &Scorer, first: &Scorer) -> Option<String> {
    let (own, firsts) = (&scorer.manifest().training, &first.manifest().training);
    let same_data = own.data.iter().map(|d| &d.sha256).eq(firsts.data.iter().map(|d| &d.sha256));
    let division = |s: &Scorer| Division::of(s.bundle()).ok().map(|d| (d.seed, d.validation_share, d.test_share));
    (!same_data || division(scorer).is_none() || division(scorer) != division(first)).then(|| {
        format!("{name} was trained on other data or on another division of them: it may have seen these test images")
    })
}

/// Judges rows of predictions for the test images; the first row is the reference.
///
/// # Errors
/// [`JudgeError::Internal`] where a row has another number of predictions.
pub fn judge(
    rows: Vec<Row>,
    test: &[Example],
    data: DataName,
    rules: Rules,
    bootstrap: Bootstrap,
) -> Result<Comparison, JudgeError> {
    let judged = rows.iter().map(|row| row.judged(test)).collect::<Result<Vec<_>, _>>()?;
    let sets: Vec<&[Judged]> = judged.iter().map(Vec::as_slice).collect();
    let measured = measure_all(&sets, &rules, &resampling(test, bootstrap));
    let against: Vec<_> = measured.iter().map(|m| differences(m, &measured[0])).collect();
    let reference = rows.first().map_or_else(String::new, |row| row.name.clone());
    let rows = rows.into_iter().zip(measured).zip(against.into_iter().zip(judged)).enumerate();
    let rows = rows.map(|(i, ((row, measured), (minus_reference, judged)))| Compared {
        name: row.name,
        how: row.how,
        measures: measured.estimates,
        minus_reference: (i > 0).then_some(minus_reference),
        judged,
    });
    Ok(Comparison {
        data,
        images: Vec::new(),
        n: test.len(),
        tags: distinct_tags(test).len(),
        rules,
        bootstrap,
        reference,
        rows: rows.collect(),
    })
}

/// A row of the paper's table 1 on AVA, whose scores go from 1 to 10.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// The method.
    pub name: &'static str,
    /// Error, LCC, SRCC, KL, EMD.
    pub figures: [f64; 5],
}

/// What Sugiura and Yamauchi, "A proposal of an image quality model that uses text tags", report on AVA.
pub const PUBLISHED: [Published; 3] = [
    Published { name: "previous (EfficientNet, no text)", figures: [0.478, 0.596, 0.556, 0.295, 0.106] },
    Published { name: "without text (CLIP image + MLP)", figures: [0.442, 0.650, 0.581, 0.185, 0.116] },
    Published { name: "with tags", figures: [0.482, 0.684, 0.620, 0.138, 0.094] },
];
