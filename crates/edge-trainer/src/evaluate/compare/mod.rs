//! Implements `edge-trainer compare`: judges several scoring methods on the same images and compares each with a
//! reference.
//!
//! A `ScoringMethod` holds a name and one prediction per test image. Networks are compared as bundles;
//! `crate::paper_rows` trains those of the published table.

mod linear;
mod method;

use std::path::PathBuf;

use edge_model::scorer::Scorer;
use serde::Serialize;

use super::choice::{self, DataName, Division, Which};
use super::embedding::{distinct_tags, embed};
use super::error::JudgeError;
use super::figures::{Bootstrap, Measures, measure_all};
use super::options::JudgeOptions;
use super::run::{open, rules};
use crate::dataset::{Example, Part};
use crate::message::Listener;
use crate::metrics::{Judged, Rules};
use method::{ReferenceImages, ScoringMethod};

/// Largest number of training images that the linear probe is fitted to. The images are evenly chosen; more of them
/// would hardly change the probe's few weights.
const PROBE_IMAGES: usize = 20_000;

/// Request to compare bundles with each other and with methods that have no network of their own.
#[derive(Debug, Clone)]
pub struct CompareRequest {
    /// Names and directories of the bundles. The first bundle is the reference. The methods without a network use its
    /// embeddings.
    pub models: Vec<(String, PathBuf)>,
    /// The data, as [`crate::dataset::read`] accepts it.
    pub data: String,
    /// The options that `eval` and `compare` share. The default seed is that of the first bundle's training.
    pub options: JudgeOptions,
}

/// Figures of one scoring method.
#[derive(Debug, Clone, Serialize)]
pub struct ComparedMethod {
    /// Name of the method in tables.
    pub name: String,
    /// Description of the method, in words.
    pub how: String,
    /// Figures of the method on the test images, with intervals.
    pub measures: Measures,
    /// Figures of the method minus figures of the reference, on the same replicates; `None` for the reference itself.
    pub minus_reference: Option<Measures>,
    /// Predictions in the order of the test images.
    #[serde(skip)]
    pub judged: Vec<Judged>,
}

/// A comparison of scoring methods on the same test images.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Name, licence and digest of the judged data.
    pub data: DataName,
    /// Sentences for the report about which images were judged.
    pub images: Vec<String>,
    /// Number of judged (image, tag) pairs.
    pub n: usize,
    /// Number of distinct tags of the judged images.
    pub tags: usize,
    /// Tie threshold and score scale, which the measures use.
    pub rules: Rules,
    /// Settings of the bootstrap that yields the intervals.
    pub bootstrap: Bootstrap,
    /// Name of the method that all others are compared with.
    pub reference: String,
    /// The methods, the reference first.
    pub rows: Vec<ComparedMethod>,
}

/// Judges the bundles and the methods that need no training of a network.
///
/// # Errors
/// [`JudgeError`].
pub fn compare(request: &CompareRequest, listener: &mut dyn Listener) -> Result<Comparison, JudgeError> {
    refuse_equal_names(&request.models)?;
    let mut models = Vec::new();
    for (name, dir) in &request.models {
        models.push((name.as_str(), open(dir, request.options.device)?));
    }
    let Some((first_name, first)) = models.first() else {
        return Err(JudgeError::Request("there is nothing to compare: name a bundle with --model NAME=DIR".to_owned()));
    };
    let (data, examples) = choice::read(first.bundle(), &request.data, &request.options, listener)?;
    let name = choice::name(&data, &examples, first.manifest());
    let parts = choice::divide(first.bundle(), data.test_share, examples.clone())?;
    let bootstrap = request.options.bootstrap(first.manifest().training.seed);

    let stride = parts.train.len().div_ceil(PROBE_IMAGES).max(1);
    let train: Vec<Example> = parts.train.iter().step_by(stride).cloned().collect();
    let reference = ReferenceImages {
        scorer: first,
        train: &embed(first, &train, &format!("training images, {first_name}"), listener)?,
        validation: &embed(first, &parts.validation, &format!("validation images, {first_name}"), listener)?,
        test: &embed(first, &parts.test, &format!("test images, {first_name}"), listener)?,
    };
    let mut methods = Vec::new();
    for (name, scorer) in &models {
        methods.extend(bundle_methods(name, scorer, &reference, bootstrap.seed, listener)?);
    }
    methods.push(ScoringMethod::linear_probe(&reference)?);
    methods.push(ScoringMethod::zero_shot(&reference)?);

    let mut comparison = judge(methods, &parts.test, name, rules(first.bundle()), bootstrap)?;
    let (data_name, only_test) = (comparison.data.clone(), Which::Only(Part::Test));
    comparison.images = choice::choose(first.bundle(), data_name, data.test_share, examples, only_test)?.how;
    comparison.images.extend(models[1..].iter().filter_map(|(name, scorer)| doubt(name, scorer, first)));
    Ok(comparison)
}

fn refuse_equal_names(models: &[(String, PathBuf)]) -> Result<(), JudgeError> {
    for (i, (name, _)) in models.iter().enumerate() {
        if models[..i].iter().any(|(earlier, _)| earlier == name) {
            return Err(JudgeError::Request(format!(
                "--model {name}=... is given twice: give each bundle its own name"
            )));
        }
    }
    Ok(())
}

/// Returns two scoring methods of a bundle: with own tags and with shuffled tags. A bundle with the reference's image
/// encoder uses the reference's embeddings.
fn bundle_methods(
    name: &str,
    scorer: &Scorer,
    reference: &ReferenceImages<'_>,
    seed: u64,
    listener: &mut dyn Listener,
) -> Result<[ScoringMethod; 2], JudgeError> {
    let own;
    let test = if scorer.encoder_digest() == reference.scorer.encoder_digest() {
        reference.test
    } else {
        own = embed(scorer, reference.test.examples, &format!("test images, {name}"), listener)?;
        &own
    };
    Ok([ScoringMethod::bundle(name, scorer, test)?, ScoringMethod::shuffled(name, scorer, test, seed)?])
}

/// Returns a remark if the bundle may have been trained on the test images.
fn doubt(name: &str, scorer: &Scorer, first: &Scorer) -> Option<String> {
    let (own, firsts) = (&scorer.manifest().training, &first.manifest().training);
    let same_data = own.data.iter().map(|d| &d.sha256).eq(firsts.data.iter().map(|d| &d.sha256));
    let division = |s: &Scorer| Division::of(s.bundle()).ok().map(|d| (d.seed, d.validation_share, d.test_share));
    (!same_data || division(scorer).is_none() || division(scorer) != division(first)).then(|| {
        format!(
            "{name} was trained on other data or with another division than the first bundle. It may have been trained \
             on the test images"
        )
    })
}

/// Judges the predictions of several methods for the test images. The first method is the reference.
///
/// # Errors
/// [`JudgeError::Internal`] if a method does not have one prediction for each test image.
fn judge(
    methods: Vec<ScoringMethod>,
    test: &[Example],
    data: DataName,
    rules: Rules,
    bootstrap: Bootstrap,
) -> Result<Comparison, JudgeError> {
    let judged = methods.iter().map(|method| method.judged(test)).collect::<Result<Vec<_>, _>>()?;
    let sets: Vec<&[Judged]> = judged.iter().map(Vec::as_slice).collect();
    let measured = measure_all(&sets, &rules, &bootstrap.resampling(test));
    let against: Vec<_> = measured.iter().map(|m| m.minus(&measured[0])).collect();
    let reference = methods.first().map_or_else(String::new, |method| method.name.clone());
    let rows = methods.into_iter().zip(measured).zip(against.into_iter().zip(judged)).enumerate();
    let rows = rows.map(|(i, ((method, measured), (minus_reference, judged)))| ComparedMethod {
        name: method.name,
        how: method.how,
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

/// A row of table 1 of Sugiura and Yamauchi's paper, on AVA with scores from 1 to 10.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PublishedRow {
    /// Name of the method in the paper.
    pub name: &'static str,
    /// Error, linear correlation (LCC), Spearman's correlation (SRCC), KL divergence and earth mover's distance (EMD).
    pub figures: [f64; 5],
}

/// Figures on AVA reported by Sugiura and Yamauchi, "A proposal of an image quality model that uses text tags".
pub const PUBLISHED: [PublishedRow; 3] = [
    PublishedRow { name: "previous (EfficientNet, no text)", figures: [0.478, 0.596, 0.556, 0.295, 0.106] },
    PublishedRow { name: "without text (CLIP image + MLP)", figures: [0.442, 0.650, 0.581, 0.185, 0.116] },
    PublishedRow { name: "with tags", figures: [0.482, 0.684, 0.620, 0.138, 0.094] },
];
