//! Reads and chooses the source images of a style data set: the images of another data set or of a directory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::recipe::NEUTRAL_TAG;
use super::request::StyleRequest;
use crate::dataset::MakeError;
use crate::dataset::making::image_files;
use crate::dataset::{self, DataError, DataSet, Example, Part, ReadOptions};

/// Default score scale (lowest, highest) for a directory of unrated images: the scale of AVA.
const FOLDER_SCALE: (f32, f32) = (1.0, 10.0);

/// A source image and the part that its renderings belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct StyleSource {
    /// The source image as an example. Its score is the mean of its scores in the source data set.
    pub example: Example,
    /// Part that all renderings of the source image belong to.
    pub part: Part,
}

/// Reads the requested data set or directory of source images. Returns it with the (lowest, highest) possible score.
pub fn read(request: &StyleRequest) -> Result<(DataSet, (f32, f32)), MakeError> {
    // Keep images of rare tags: a style data set replaces the tags.
    let options = ReadOptions {
        min_images_per_tag: 1,
        seed: request.seed,
        allow_outside: request.allow_outside,
        ..ReadOptions::default()
    };
    let data = match dataset::read(&request.images, &options) {
        Err(DataError::Unrecognised { path }) if path.is_dir() => folder(&path, request)?,
        other => other?,
    };
    let scores = || data.examples.iter().map(|e| e.score);
    let seen = (scores().fold(f32::INFINITY, f32::min), scores().fold(f32::NEG_INFINITY, f32::max));
    let scale = request.scale.or(data.scale).unwrap_or(seen);
    if scale.0 >= scale.1 || seen.0 < scale.0 || seen.1 > scale.1 {
        let ((low, high), (least, most)) = (scale, seen);
        let problem = format!(
            "the scores {least} to {most} do not lie on a scale of {low} to {high}. State the scale with --scale \
             LOW,HIGH"
        );
        return Err(MakeError::Options(problem));
    }
    Ok((data, scale))
}

/// Returns all images below a directory in the order of their names, each with the same score.
fn folder(dir: &Path, request: &StyleRequest) -> Result<DataSet, DataError> {
    let scale = request.scale.unwrap_or(FOLDER_SCALE);
    let score = request.source_score.unwrap_or((scale.0 + scale.1) / 2.0);
    let example = |path: PathBuf| Example {
        path,
        tag: NEUTRAL_TAG.to_owned(),
        score,
        alignment: None,
        part: None,
        group: String::new(),
        source: String::new(),
        condition: None,
        content_id: String::new(),
    };
    let examples = image_files(dir)?.into_iter().map(example).collect();
    let name = dir.file_name().map_or_else(|| "images".to_owned(), |n| n.to_string_lossy().into_owned());
    Ok(DataSet {
        about: format!("The images of the directory {name}."),
        name,
        licence: "unknown".to_owned(),
        unit: "points".to_owned(),
        scale: Some(scale),
        test_share: None,
        notes: vec![format!(
            "the images are not rated: each counts as {score} on a scale of {} to {}",
            scale.0, scale.1
        )],
        examples,
    })
}

/// Returns the examples of the images that the seed chooses, at most `request.limit` images. Call this function before
/// the images are checked, because the check reads every image.
pub fn limit(examples: Vec<Example>, request: &StyleRequest) -> Vec<Example> {
    let Some(limit) = request.limit else { return examples };
    let distinct: BTreeSet<&Path> = examples.iter().map(|e| e.path.as_path()).collect();
    let mut paths: Vec<&Path> = distinct.into_iter().collect();
    paths.shuffle(&mut StdRng::seed_from_u64(request.seed));
    let chosen: HashSet<PathBuf> = paths.into_iter().take(limit).map(Path::to_owned).collect();
    examples.into_iter().filter(|e| chosen.contains(&e.path)).collect()
}

/// Returns the distinct images of checked examples in the order of the examples. The seed draws the part of each split
/// unit.
pub fn choose(examples: Vec<Example>, request: &StyleRequest) -> Result<Vec<StyleSource>, MakeError> {
    let mut place: HashMap<String, usize> = HashMap::new();
    let mut images: Vec<(Example, f64, u32)> = Vec::new();
    for example in examples {
        let at = *place.entry(example.content_id.clone()).or_insert(images.len());
        match images.get_mut(at) {
            Some((_, sum, rows)) => (*sum, *rows) = (*sum + f64::from(example.score), *rows + 1),
            None => images.push((grouped(example.clone()), f64::from(example.score), 1)),
        }
    }
    // Sort the split units by name, so that the division does not depend on the order of the rows.
    let groups: BTreeSet<&str> = images.iter().map(|(example, ..)| example.group.as_str()).collect();
    let mut order: Vec<&str> = groups.into_iter().collect();
    order.shuffle(&mut StdRng::seed_from_u64(request.seed));
    let count = |share: f64| ((order.len() as f64 * share).round() as usize).max(1);
    let (validation, test) = (count(request.validation_share), count(request.test_share));
    if order.len() <= validation + test {
        let found = order.len();
        let problem =
            format!("{found} groups of source images cannot fill three parts. Add source images, or lower the shares");
        return Err(MakeError::Options(problem));
    }
    let part_at = |i: usize| match i {
        _ if i < test => Part::Test,
        _ if i < test + validation => Part::Validation,
        _ => Part::Train,
    };
    let parts: HashMap<String, Part> =
        order.iter().enumerate().map(|(i, group)| ((*group).to_owned(), part_at(i))).collect();
    let source = |(example, sum, rows): (Example, f64, u32)| {
        let score = (sum / f64::from(rows)) as f32;
        StyleSource { part: parts[&example.group], example: Example { score, ..example } }
    };
    Ok(images.into_iter().map(source).collect())
}

/// Makes an image without a stated split unit its own split unit.
fn grouped(example: Example) -> Example {
    if !example.group.is_empty() {
        return example;
    }
    let name = example.path.file_name().unwrap_or_default().to_string_lossy();
    let group = format!("{name} {}", example.content_id.get(..8).unwrap_or_default());
    Example { group, ..example }
}
