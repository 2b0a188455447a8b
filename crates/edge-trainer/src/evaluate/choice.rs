//! Chooses the images to judge: by default the test part, divided in the same way as for the bundle's training.

use std::collections::HashSet;

use edge_model::bundle::{Bundle, Manifest};
use edge_model::image_input::Limits;
use serde::{Deserialize, Serialize};

use super::embedding::distinct_tags;
use super::error::JudgeError;
use super::options::JudgeOptions;
use crate::dataset::{self, AvaSplit, DataSet, Example, Fold, Part, Parts, ReadOptions, Shares};
use crate::message::{Listener, Message, warn};

/// Remark if the judged data have the same digest as the bundle's training data.
const SAME_DATA: &str = "the bundle was trained on these data: the digests are equal";

/// Which images of the data are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The images of one part.
    Only(Part),
    /// All images, including those that were trained on.
    All,
}

/// The division of the training data, as stated in the manifest of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Division {
    /// Seed with which the parts were drawn.
    pub seed: u64,
    /// Share of the split units in the validation part, 0 to 1.
    pub validation_share: f64,
    /// Share of the split units in the test part, 0 to 1.
    pub test_share: f64,
    /// Score difference below which two images count as tied.
    pub tie_threshold: f32,
    /// Fold that is the test part; `None` if the test part was drawn.
    #[serde(default)]
    pub fold: Option<Fold>,
    /// Whether the names of the split units alone decided the parts, as for a training on several data sets.
    #[serde(skip)]
    pub by_name: bool,
    /// AVA: smallest number of images of a tag; rarer tags were dropped.
    #[serde(default = "default_min_images")]
    pub min_images_per_tag: usize,
    /// AVA: whether the test images are drawn as in the paper or taken from AVA's own list.
    #[serde(default)]
    pub ava_split: AvaSplit,
}

fn default_min_images() -> usize {
    ReadOptions::default().min_images_per_tag
}

impl Division {
    /// Reads the division from the manifest of a bundle.
    ///
    /// # Errors
    /// [`JudgeError::Division`].
    pub fn of(bundle: &Bundle) -> Result<Self, JudgeError> {
        // Only the keys of the division are read, so that manifests with other options remain readable.
        let training = &bundle.manifest().training;
        let division = Self::deserialize(&training.config)
            .map_err(|e| JudgeError::Division { dir: bundle.dir().to_owned(), reason: e.to_string() })?;
        Ok(Self { by_name: training.data.len() > 1, ..division })
    }
}

/// Name and digest of the judged data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DataName {
    /// Name of the data set.
    pub name: String,
    /// Licence of the data set.
    pub licence: String,
    /// SHA-256 over the sorted (content id, tag, score) rows.
    pub sha256: String,
    /// Whether the bundle was trained on data with the same digest.
    pub is_the_bundles: bool,
}

/// The chosen images of checked data.
#[derive(Debug, Clone)]
pub struct ChosenImages {
    /// Name, licence and digest of the data set.
    pub data: DataName,
    /// The chosen images, each with its tag and its true score.
    pub examples: Vec<Example>,
    /// Sentences about the choice: the number of images, the part, and the overlap with the training data.
    pub how: Vec<String>,
}

/// Reads the data that `spec` names with the read options of the bundle's training, and checks every image.
///
/// # Errors
/// [`JudgeError::Division`], [`JudgeError::Data`].
pub fn read(
    bundle: &Bundle,
    spec: &str,
    options: &JudgeOptions,
    listener: &mut dyn Listener,
) -> Result<(DataSet, Vec<Example>), JudgeError> {
    let Division { seed, min_images_per_tag, ava_split, .. } = Division::of(bundle)?;
    let data = dataset::read(
        spec,
        &ReadOptions { min_images_per_tag, ava_split, seed, allow_outside: options.allow_outside },
    )?;
    let paths: HashSet<_> = data.examples.iter().map(|e| e.path.as_path()).collect();
    listener.on(Message::Begin { what: "checking images".to_owned(), steps: paths.len() as u64 });
    let checked = dataset::check(data.examples.clone(), options.max_bad_fraction, &Limits::default(), || {
        listener.on(Message::Advance { measure: String::new() });
    });
    listener.on(Message::End);
    let (examples, found) = checked?;
    found.warnings().into_iter().for_each(|w| warn(listener, w));
    Ok((data, examples))
}

/// Returns name, licence and digest of checked data.
pub fn name(data: &DataSet, examples: &[Example], manifest: &Manifest) -> DataName {
    let sha256 = dataset::digest(examples);
    let is_the_bundles = manifest.training.data.iter().any(|d| d.sha256 == sha256);
    DataName { name: data.name.clone(), licence: data.licence.clone(), sha256, is_the_bundles }
}

/// Divides the examples in the same way as for the bundle's training. `fixed_test_share` is the share of the test part
/// if the data format fixes it, 0 to 1.
///
/// # Errors
/// [`JudgeError::Division`], [`JudgeError::Data`].
pub fn divide(bundle: &Bundle, fixed_test_share: Option<f64>, examples: Vec<Example>) -> Result<Parts, JudgeError> {
    let Division { seed, validation_share, test_share, fold, by_name, .. } = Division::of(bundle)?;
    let test = fixed_test_share.filter(|_| !by_name).unwrap_or(test_share);
    Ok(dataset::divide(examples, Shares { validation: validation_share, test, seed, fold, by_name })?)
}

/// Chooses the images to judge, and describes the choice.
///
/// # Errors
/// [`JudgeError::Division`], [`JudgeError::Data`].
pub fn choose(
    bundle: &Bundle,
    data: DataName,
    fixed_test_share: Option<f64>,
    examples: Vec<Example>,
    which: Which,
) -> Result<ChosenImages, JudgeError> {
    let (all, manifest) = (examples.len(), bundle.manifest());
    let Which::Only(part) = which else {
        let mut how = vec![format!("{all} of {all} examples: all parts")];
        how.extend(if data.is_the_bundles {
            vec![format!("{SAME_DATA}: many of the judged images were used for training")]
        } else {
            foreign(&examples, which, manifest)
        });
        return Ok(ChosenImages { data, examples, how });
    };
    let parts = divide(bundle, fixed_test_share, examples)?;
    let (sizes, division) = (parts.sizes(), parts.how.clone());
    let examples = match part {
        Part::Train => parts.train,
        Part::Validation => parts.validation,
        Part::Test => parts.test,
    };
    let (n, words) = (examples.len(), part_in_words(part));
    let mut how = vec![format!(
        "{n} of {all} examples: {words}. The data were divided with the bundle's seed and shares: {division}"
    )];
    if !data.is_the_bundles {
        how.extend(foreign(&examples, which, manifest));
    } else if is_divided_otherwise(sizes, manifest) || (part == Part::Test && has_trained_groups(&examples, manifest)) {
        let then = manifest.training.examples;
        how.push(format!(
            "{SAME_DATA}, but the division differs: {sizes:?} examples for training, validation and test here, \
             {then:?} in the manifest. The bundle may have been trained on judged images"
        ));
    } else {
        let untouched = if part == Part::Test { ", so no judged image was trained on" } else { "" };
        how.push(format!("{SAME_DATA}{untouched}"));
    }
    Ok(ChosenImages { data, examples, how })
}

/// Returns whether the sizes of the parts differ from those of the bundle's training. Returns false if the bundle was
/// trained on several data sets, because the sizes cannot be compared then.
fn is_divided_otherwise(sizes: [usize; 3], manifest: &Manifest) -> bool {
    manifest.training.data.len() == 1 && sizes != manifest.training.examples
}

/// Returns whether the bundle was trained on a split unit of the judged examples. The manifest lists the training tags,
/// so this is known only for split units that are tags.
fn has_trained_groups(examples: &[Example], manifest: &Manifest) -> bool {
    let trained = |tag: &str| manifest.tag(tag).is_some_and(|t| !manifest.default_tags.contains(&t.text));
    examples.iter().any(|e| e.group == e.tag.to_lowercase() && trained(&e.tag))
}

fn part_in_words(part: Part) -> &'static str {
    match part {
        Part::Test => "the test part",
        Part::Validation => "the validation part, which decided the epoch to keep",
        Part::Train => "the training part, which the weights were fitted to",
    }
}

/// Returns the remarks for a bundle that is judged on other data than it was trained on, one sentence each.
fn foreign(examples: &[Example], which: Which, manifest: &Manifest) -> Vec<String> {
    let mut remarks = vec![
        "the bundle was trained on other data: the digests differ. It is unknown which of the judged images it was \
         trained on"
            .to_owned(),
    ];
    let tags = distinct_tags(examples);
    let known = tags.iter().filter(|t| manifest.tag(t).is_some()).count();
    if known > 0 {
        remarks.push(format!("{known} of the {} judged tags are tags that the bundle was trained on", tags.len()));
    }
    if which != Which::All {
        remarks.push("if the bundle was trained on none of the images, judge all images with --part all".to_owned());
    }
    remarks
}
