//! The questions that the small image encoder answers: one about each data set and one about each frequent tag. A question holds the true
//! scores of its images.

use std::collections::{BTreeMap, BTreeSet};

use super::images::DistinctImages;
use crate::assemble::DEFAULT_TAG;
use crate::dataset::Example;
use crate::dataset::style::NEUTRAL_TAG;
use crate::model::kernel_encoder::MAX_ANSWERS;

/// Name of the question about the images of all data sets whose tags name what they show, or nothing.
pub(super) const EVERYTHING: &str = "all data sets";
/// Name of the question about those of them that do not differ in style.
pub(super) const NAMED: &str = "all but styles";
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
    /// Images of several data sets; with the answer for the first data set they make up the common answer.
    Common,
    DataSet,
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

/// Returns the questions. The first are the common ones, then there is one for each data set in the order of their first images, and one
/// for each frequent tag that does not name what an image shows, such as a style; the most frequent comes first.
///
/// `knows_content` is whether the encoder tells what an image shows. If it does not, every frequent tag has a question of its own, and none
/// is common.
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
    let common = if knows_content { common(images) } else { Vec::new() };
    let of_sources = by_source.into_iter().map(|known| question(About::DataSet, known));
    common
        .into_iter()
        .chain(of_sources)
        .chain(frequent.into_iter().map(|known| question(About::Tag, known)))
        .take(MAX_ANSWERS)
        .collect()
}

/// The common questions, each about images of several data sets. One about everything makes scores of all kinds of images comparable. It has to
/// give damaged copies of photographs and renderings of one picture, which differ in style, their scores by the same measurements; another one
/// leaves the styles out and knows damage better (docs/small-model.md, "Tilted photographs").
fn common(images: &DistinctImages<'_>) -> Vec<Question> {
    let about = |name: &str, is_about: &dyn Fn(&Example) -> bool| {
        let (mut known, mut sources) = (Known::new(), BTreeSet::new());
        for (i, examples) in images.examples.iter().enumerate() {
            for example in examples.iter().filter(|example| is_about(example)) {
                add(&mut known, i, example);
                sources.insert(&example.source);
            }
        }
        (sources.len() > 1).then(|| question(About::Common, (name, known)))
    };
    let Some(everything) = about(EVERYTHING, &reads_common) else { return Vec::new() };
    let named = about(NAMED, &|example| reads_common(example) && example.tag != NEUTRAL_TAG);
    let named = named.filter(|named| named.known.len() < everything.known.len());
    [everything].into_iter().chain(named).collect()
}

/// Whether an example's tag names what the image shows, or nothing. The answer for such tags is common to all data sets.
pub(super) fn reads_common(example: &Example) -> bool {
    example.alignment.is_some() || [DEFAULT_TAG, NEUTRAL_TAG].contains(&example.tag.as_str())
}
