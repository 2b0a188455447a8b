//! Chooses the reference scores of percentiles, and checks percentiles. The percentiles of images like the reference
//! images should be distributed uniformly from 0 to 100.

use std::collections::{BTreeMap, HashMap, HashSet};

use edge_model::bundle::manifest::percentile;
use edge_model::scorer::Scorer;

use super::embedding::Embedded;
use super::error::JudgeError;
use crate::batches::BatchImages;
use crate::dataset::Example;
use crate::metrics::{Judged, kolmogorov_to_uniform};

/// A tag with at least this many rated images has only these images as its reference images.
const MIN_OWN_IMAGES: usize = 250;

/// Rated images whose scores are the reference scores of percentiles.
#[derive(Debug, Clone, Copy)]
pub struct PercentileReference<'a> {
    images: &'a Embedded<'a>,
    /// Names of the data sets whose images are the reference of tags without rated images.
    of_unknown: &'a [String],
}

impl<'a> PercentileReference<'a> {
    /// Creates a reference. `of_unknown` names the data sets whose images are the reference of tags without rated images.
    pub fn new(images: &'a Embedded<'a>, of_unknown: &'a [String]) -> Self {
        Self { images, of_unknown }
    }

    /// Returns the scores of the tag's reference images under this tag. The reference images are the images rated under
    /// the tag if there are at least `MIN_OWN_IMAGES`. Otherwise they are all images of the data sets that contain the
    /// tag. If no data set contains the tag, they are the images of the data sets for unknown
    /// tags.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn scores_under(&self, scorer: &Scorer, tag: &str) -> Result<Vec<f32>, JudgeError> {
        let examples = self.images.examples;
        let mut rows: Vec<usize> = (0..examples.len()).filter(|&i| examples[i].tag == tag).collect();
        if rows.len() < MIN_OWN_IMAGES {
            let mut sources: HashSet<&str> = rows.iter().map(|&i| examples[i].source.as_str()).collect();
            if sources.is_empty() {
                sources.extend(self.of_unknown.iter().map(String::as_str));
            }
            let distinct = BatchImages::of_all(examples).first;
            rows = distinct.into_iter().filter(|&i| sources.contains(examples[i].source.as_str())).collect();
        }
        let tag = scorer.encode_tag(tag)?;
        let pairs: Vec<_> = rows.iter().map(|&i| (&*self.images.images[i], &tag)).collect();
        Ok(scorer.score_pairs(&pairs)?.into_iter().map(|s| s.score).collect())
    }

    /// Returns the reference scores of unknown tags: the scores of images under their own tags that `is_like` them.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn own_scores(&self, scorer: &Scorer, is_like: impl Fn(&str) -> bool) -> Result<Vec<f32>, JudgeError> {
        let judged = self.images.judge(scorer, str::to_owned)?;
        let counts = |e: &Example| self.of_unknown.contains(&e.source) && is_like(&e.tag);
        let rows = self.images.examples.iter().zip(judged).filter(|(e, _)| counts(e));
        Ok(rows.map(|(_, judged)| judged.prediction as f32).collect())
    }
}

/// Chooses at most `most` evenly spaced images of each data set. Returns all examples of the chosen images.
pub fn reference_examples<'e>(examples: impl Iterator<Item = &'e Example> + Clone, most: usize) -> Vec<Example> {
    let mut by_source: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut seen = HashSet::new();
    for example in examples.clone().filter(|e| seen.insert(e.content_id.as_str())) {
        by_source.entry(&example.source).or_default().push(&example.content_id);
    }
    let chosen: HashSet<&str> = by_source
        .into_values()
        .flat_map(|ids| {
            let step = ids.len().div_ceil(most).max(1);
            ids.into_iter().step_by(step)
        })
        .collect();
    examples.filter(|e| chosen.contains(e.content_id.as_str())).cloned().collect()
}

/// Returns Kolmogorov's distance for each data set: the distance between the percentiles of its judged images and the
/// uniform distribution. Each image is judged under its own tag. `quantiles` returns the reference quantiles of a tag.
pub fn percentile_distances<'q>(
    examples: &[Example],
    judged: &[Judged],
    quantiles: impl Fn(&str) -> &'q [f32],
) -> BTreeMap<String, f64> {
    let mut by_source: HashMap<&str, Vec<f64>> = HashMap::new();
    for (example, row) in examples.iter().zip(judged) {
        if let Some(p) = percentile(quantiles(&row.tag), row.prediction as f32) {
            by_source.entry(&example.source).or_default().push(f64::from(p) / 100.0);
        }
    }
    by_source.into_iter().map(|(source, values)| (source.to_owned(), kolmogorov_to_uniform(values))).collect()
}
