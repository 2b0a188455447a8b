//! The questions that the small image encoder answers: one about each data set and one about each frequent tag. A question holds the true
//! scores of its images.

use std::collections::{BTreeMap, BTreeSet};

use super::images::DistinctImages;
use crate::assemble::DEFAULT_TAG;
use crate::dataset::Example;
use crate::dataset::style::NEUTRAL_TAG;
use crate::model::kernel_encoder::MAX_ANSWERS;

/// Name of the question about what the answer for the first data set lacks.
pub(super) const CORRECTION: &str = "correction for all data sets";
/// Fewest images of a tag that gets an answer of its own.
const TAG_IMAGES: usize = 24;

/// A target of the ridge regression: the scores of images within a data set or under a tag. One answer predicts them.
pub(super) struct Question {
    /// Name of the data set or the tag.
    pub(super) name: String,
    pub(super) about: About,
    /// Indices of images, each with the mean of its true scores.
    pub(super) known: Vec<(usize, f64)>,
}

/// Whether a question's scores are those of a data set or of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum About {
    DataSet,
    /// All data sets whose tags name what an image shows, or nothing: what has to be added to the answer for the first one.
    Correction,
    Tag,
}

impl Question {
    /// Returns (row, true score) of the question's images that the regression is fitted to. `row_of` gives the row of
    /// each image; `None` for images outside the fit.
    pub(super) fn among(&self, row_of: &[Option<usize>]) -> Vec<(usize, f64)> {
        self.known.iter().filter_map(|&(image, value)| Some((row_of[image]?, value))).collect()
    }
}

/// For each image: the sum of the scores of its examples, and their number.
type Known = BTreeMap<usize, (f64, f64)>;

fn add(known: &mut Known, image: usize, example: &Example) {
    let (sum, count) = known.entry(image).or_default();
    (*sum, *count) = (*sum + f64::from(example.score), *count + 1.0);
}

fn question(about: About, (name, known): (&str, Known)) -> Question {
    let known = known.into_iter().map(|(image, (sum, count))| (image, sum / count)).collect();
    Question { name: name.to_owned(), about, known }
}

/// Returns the questions. There is one for each data set in the order of their first images, then the correction, then one for each frequent
/// tag that does not name what an image shows, such as a style; the most frequent comes first.
///
/// `knows_content` is whether the encoder tells what an image shows. If it does not, every frequent tag has a question of its own, and there is
/// no correction.
pub(super) fn questions(images: &DistinctImages<'_>, knows_content: bool) -> Vec<Question> {
    let mut by_source: Vec<(&str, Known)> = Vec::new();
    let mut by_tag: BTreeMap<&str, Known> = BTreeMap::new();
    for (i, examples) in images.examples.iter().enumerate() {
        for example in examples {
            let at = by_source.iter().position(|(name, _)| *name == example.source).unwrap_or(by_source.len());
            if at == by_source.len() {
                by_source.push((&example.source, Known::new()));
            }
            add(&mut by_source[at].1, i, example);
            if !(knows_content && reads_common(example)) {
                add(by_tag.entry(&example.tag).or_default(), i, example);
            }
        }
    }
    let mut frequent: Vec<_> = by_tag.into_iter().filter(|(_, known)| known.len() >= TAG_IMAGES).collect();
    frequent.sort_by_key(|(_, known)| std::cmp::Reverse(known.len()));
    let correction = if knows_content { correction(images) } else { None };
    let of_sources = by_source.into_iter().map(|known| question(About::DataSet, known));
    of_sources
        .chain(correction)
        .chain(frequent.into_iter().map(|known| question(About::Tag, known)))
        .take(MAX_ANSWERS)
        .collect()
}

/// The question about all images whose tags name what they show, or nothing, if they come from several data sets.
fn correction(images: &DistinctImages<'_>) -> Option<Question> {
    let (mut known, mut sources) = (Known::new(), BTreeSet::new());
    for (i, examples) in images.examples.iter().enumerate() {
        for example in examples.iter().filter(|example| reads_common(example)) {
            add(&mut known, i, example);
            sources.insert(&example.source);
        }
    }
    (sources.len() > 1).then(|| question(About::Correction, (CORRECTION, known)))
}

/// Whether an example's tag names what the image shows, or nothing. The answer for such tags is common to all data sets.
pub(super) fn reads_common(example: &Example) -> bool {
    example.alignment.is_some() || [DEFAULT_TAG, NEUTRAL_TAG].contains(&example.tag.as_str())
}
