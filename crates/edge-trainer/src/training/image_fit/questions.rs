//! The questions that the small image encoder answers: one about each data set and one about each frequent tag. A question holds the true
//! scores of its images.

use std::collections::{BTreeMap, BTreeSet};

use super::images::DistinctImages;
use crate::assemble::DEFAULT_TAG;
use crate::dataset::Example;
use crate::dataset::style::NEUTRAL_TAG;
use crate::model::kernel_encoder::MAX_ANSWERS;

/// Name of the question about all data sets.
pub(super) const EVERYTHING: &str = "all data sets";
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
    /// All data sets whose tags name what an image shows, or nothing.
    Everything,
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

/// Returns the questions. The first is about all images whose tags name what they show, or nothing, if they come from several data sets.
/// Then there is one for each data set in the order of their first images, and one for each frequent tag that does not name what an image
/// shows, such as a style; the most frequent comes first.
///
/// `knows_content` is whether the encoder tells what an image shows. If it does not, every frequent tag has a question of its own, and none
/// is about all data sets.
pub(super) fn questions(images: &DistinctImages<'_>, knows_content: bool) -> Vec<Question> {
    // For each image: the sum of the scores of its examples, and their number.
    type Known = BTreeMap<usize, (f64, f64)>;
    let mut by_source: Vec<(&str, Known)> = Vec::new();
    let mut by_tag: BTreeMap<&str, Known> = BTreeMap::new();
    let (mut everything, mut sources) = (Known::new(), BTreeSet::new());
    for (i, examples) in images.examples.iter().enumerate() {
        for example in examples {
            let at = by_source.iter().position(|(name, _)| *name == example.source).unwrap_or(by_source.len());
            if at == by_source.len() {
                by_source.push((&example.source, Known::new()));
            }
            let is_common = knows_content && reads_common(example);
            let add = |known: &mut Known| {
                let (sum, count) = known.entry(i).or_default();
                (*sum, *count) = (*sum + f64::from(example.score), *count + 1.0);
            };
            add(&mut by_source[at].1);
            if is_common {
                add(&mut everything);
                sources.insert(&example.source);
            } else {
                add(by_tag.entry(&example.tag).or_default());
            }
        }
    }
    let mut frequent: Vec<_> = by_tag.into_iter().filter(|(_, known)| known.len() >= TAG_IMAGES).collect();
    frequent.sort_by_key(|(_, known)| std::cmp::Reverse(known.len()));
    let question = |about: About, (name, known): (&str, Known)| Question {
        name: name.to_owned(),
        about,
        known: known.into_iter().map(|(image, (sum, count))| (image, sum / count)).collect(),
    };
    let of_all = (sources.len() > 1).then(|| question(About::Everything, (EVERYTHING, everything)));
    let of_sources = by_source.into_iter().map(|known| question(About::DataSet, known));
    of_all
        .into_iter()
        .chain(of_sources)
        .chain(frequent.into_iter().map(|known| question(About::Tag, known)))
        .take(MAX_ANSWERS)
        .collect()
}

/// Whether an example's tag names what the image shows, or nothing. The answer for such tags is common to all data sets.
pub(super) fn reads_common(example: &Example) -> bool {
    example.alignment.is_some() || [DEFAULT_TAG, NEUTRAL_TAG].contains(&example.tag.as_str())
}
