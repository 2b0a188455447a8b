//! Which images are judged: by default those of the test part, divided as the bundle's own training divided them.

use serde::{Deserialize, Serialize};

use super::JudgeError;
use crate::dataset::{self, AvaSplit, DataSet, Example, Fold, Part, Parts, ReadOptions, Shares};
use crate::message::{Listener, Message, warn};
use edge_model::bundle::{Bundle, Manifest};
use edge_model::image_input::Limits;

/// Said of data with the bundle's digest.
const SAME_DATA: &str = "the data are those that the bundle was trained on: the digests are equal";

/// The images to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those of one part.
    Only(Part),
    /// All of them, whatever was trained on.
    All,
}

/// What a bundle's manifest says of the division of its data.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Division {
    /// The seed.
    pub seed: u64,
    /// Share of the groups for validation.
    pub validation_share: f64,
    /// Share of the groups for the test.
    pub test_share: f64,
    /// Score difference below which two images count as alike.
    pub tie_threshold: f32,
    /// The fold that is the test part.
    #[serde(default)]
    pub fold: Option<Fold>,
    /// Whether several data sets were divided alike.
    #[serde(skip)]
    pub by_name: bool,
    /// How AVA was read.
    #[serde(default = "usual_min_images")]
    pub min_images_per_tag: usize,
    /// How AVA was divided.
    #[serde(default)]
    pub ava_split: AvaSplit,
}

fn usual_min_images() -> usize {
    ReadOptions::default().min_images_per_tag
}

impl Division {
    /// That of a bundle.
    ///
    /// # Errors
    /// [`JudgeError::Division`].
    pub fn of(bundle: &Bundle) -> Result<Self, JudgeError> {
        // Only what the division needs is read: other options may come and go.
        let training = &bundle.manifest().training;
        let division = Self::deserialize(&training.config)
            .map_err(|e| JudgeError::Division { dir: bundle.dir().to_owned(), reason: e.to_string() })?;
        Ok(Self { by_name: training.data.len() > 1, ..division })
    }
}

/// The data that are judged on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataName {
    /// Name of the data set.
    pub name: String,
    /// Its licence.
    pub licence: String,
    /// SHA-256 over the sorted (content id, tag, score) rows.
    pub sha256: String,
    /// Whether the bundle was trained on data of the same digest.
    pub is_the_bundles: bool,
}

/// The checked data and what was chosen of them.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The data set.
    pub data: DataName,
    /// The images.
    pub examples: Vec<Example>,
    /// Which images were taken and how they were divided, in sentences.
    pub how: Vec<String>,
}

/// Reads the data behind `spec` as the bundle's training did, and every image once, and says what was found.
///
/// # Errors
/// [`JudgeError::Division`], [`JudgeError::Data`].
pub fn read(
    (bundle, spec): (&Bundle, &str),
    max_bad_fraction: f64,
    listener: &mut dyn Listener,
) -> Result<(DataSet, Vec<Example>), JudgeError> {
    let Division { seed, min_images_per_tag, ava_split, .. } = Division::of(bundle)?;
    let data = dataset::read(spec, &ReadOptions { min_images_per_tag, ava_split, seed })?;
    let paths: std::collections::HashSet<_> = data.examples.iter().map(|e| e.path.as_path()).collect();
    listener.on(Message::Begin { what: "checking images".to_owned(), steps: paths.len() as u64 });
    let checked = dataset::check(data.examples.clone(), max_bad_fraction, &Limits::default(), || {
        listener.on(Message::Step { measure: String::new() });
    });
    listener.on(Message::End);
    let (examples, found) = checked?;
    found.warnings().into_iter().for_each(|w| warn(listener, w));
    Ok((data, examples))
}

/// Name and digest of checked data.
pub fn name(data: &DataSet, examples: &[Example], manifest: &Manifest) -> DataName {
    let sha256 = dataset::digest(examples);
    let is_the_bundles = manifest.training.data.iter().any(|d| d.sha256 == sha256);
    DataName { name: data.name.clone(), licence: data.licence.clone(), sha256, is_the_bundles }
}

/// Divides as the bundle's training did; the share of the test is the data's own where their format fixes it.
///
/// # Errors
/// [`JudgeError::Division`], [`JudgeError::Data`].
pub fn divide(bundle: &Bundle, fixed_test_share: Option<f64>, examples: Vec<Example>) -> Result<Parts, JudgeError> {
    let Division { seed, validation_share, test_share, fold, by_name, .. } = Division::of(bundle)?;
    let test = fixed_test_share.filter(|_| !by_name).unwrap_or(test_share);
    Ok(dataset::divide(examples, Shares { validation: validation_share, test, seed, fold, by_name })?)
}

/// Takes the images to judge.
///
/// # Errors
/// [`JudgeError::Division`], [`JudgeError::Data`].
pub fn choose(
    bundle: &Bundle,
    (data, fixed_test_share): (DataName, Option<f64>),
    examples: Vec<Example>,
    which: Which,
) -> Result<Chosen, JudgeError> {
    let (all, manifest) = (examples.len(), bundle.manifest());
    let Which::Only(part) = which else {
        let mut how = vec![format!("{all} of {all} examples, all parts")];
        how.extend(if data.is_the_bundles {
            vec![format!("{SAME_DATA}, so many of the images judged here were trained on")]
        } else {
            foreign(&examples, which, manifest)
        });
        return Ok(Chosen { data, examples, how });
    };
    let parts = divide(bundle, fixed_test_share, examples)?;
    let (sizes, division) = (parts.sizes(), parts.how.clone());
    let examples = match part {
        Part::Train => parts.train,
        Part::Validation => parts.validation,
        Part::Test => parts.test,
    };
    let (n, words) = (examples.len(), part_in_words(part));
    let mut how =
        vec![format!("{n} of {all} examples, {words}, divided with the bundle's seed and shares: {division}")];
    if !data.is_the_bundles {
        how.extend(foreign(&examples, which, manifest));
    } else if is_divided_otherwise(sizes, manifest) || (part == Part::Test && has_trained_groups(&examples, manifest)) {
        let then = manifest.training.examples;
        how.push(format!(
            "{SAME_DATA}, but they are divided in another way here: {sizes:?} examples to train on, to validate and to \
             test, {then:?} in the manifest. Images judged here may have been trained on"
        ));
    } else {
        let untouched = if part == Part::Test { ", so no image judged here was trained on" } else { "" };
        how.push(format!("{SAME_DATA}{untouched}"));
    }
    Ok(Chosen { data, examples, how })
}

/// Of several data sets that were trained on together each is divided by the names of its groups: there the sizes say nothing.
fn is_divided_otherwise(sizes: [usize; 3], manifest: &Manifest) -> bool {
    manifest.training.data.len() == 1 && sizes != manifest.training.examples
}

/// Where groups are tags, a tag that the bundle was trained on shows that its group was.
fn has_trained_groups(examples: &[Example], manifest: &Manifest) -> bool {
    let trained = |tag: &str| manifest.tag(tag).is_some_and(|t| !manifest.default_tags.contains(&t.text));
    examples.iter().any(|e| e.group == e.tag.to_lowercase() && trained(&e.tag))
}

fn part_in_words(part: Part) -> &'static str {
    match part {
        Part::Test => "the test part",
        Part::Validation => "the validation part, which decided when the training stopped",
        Part::Train => "the training part, which the weights were fitted to",
    }
}

/// What must be known to trust figures on data that the bundle was not trained on.
fn foreign(examples: &[Example], which: Which, manifest: &Manifest) -> Vec<String> {
    let mut remarks = vec![
        "the data are not those that the bundle was trained on: the digests differ, and which of these images it has \
         seen is not known here"
            .to_owned(),
    ];
    let tags = super::distinct_tags(examples);
    let known = tags.iter().filter(|t| manifest.tag(t).is_some()).count();
    if known > 0 {
        remarks.push(format!("{known} of the {} tags judged here are tags that it was trained on", tags.len()));
    }
    if which != Which::All {
        remarks.push("if none of the images was trained on, judge all of them with --part all".to_owned());
    }
    remarks
}
