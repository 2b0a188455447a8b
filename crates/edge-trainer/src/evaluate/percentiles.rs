//! What percentiles refer to, and whether they mean what they say: on images of the reference's kind they spread evenly.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Embedded, JudgeError};
use crate::batches::Images;
use crate::dataset::Example;
use crate::metrics::{Judged, kolmogorov_to_uniform};
use edge_model::bundle::manifest::percentile;
use edge_model::scorer::Scorer;

/// A tag is its own reference where so many images are rated under it.
const OWN: usize = 250;

/// Rated images whose scores percentiles are read off.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    images: &'a Embedded<'a>,
    /// The data set that stands for whatever has no tag of its own.
    first: &'a str,
}

impl<'a> Reference<'a> {
    /// Those images; `first` is the data set that tags from elsewhere refer to.
    pub fn new(images: &'a Embedded<'a>, first: &'a str) -> Self {
        Self { images, first }
    }

    /// The scores that the percentiles of a tag refer to: those of the images that are rated under it where these are many; else those
    /// that all images of its data sets have under it. A tag of no data set refers to the first.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn scores_under(&self, scorer: &Scorer, tag: &str) -> Result<Vec<f32>, JudgeError> {
        let examples = self.images.examples;
        let mut rows: Vec<usize> = (0..examples.len()).filter(|&i| examples[i].tag == tag).collect();
        if rows.len() < OWN {
            let mut sources: HashSet<&str> = rows.iter().map(|&i| examples[i].source.as_str()).collect();
            if sources.is_empty() {
                sources.insert(self.first);
            }
            let distinct = Images::of_all(examples).first;
            rows = distinct.into_iter().filter(|&i| sources.contains(examples[i].source.as_str())).collect();
        }
        let tag = scorer.encode_tag(tag)?;
        let pairs: Vec<_> = rows.iter().map(|&i| (&*self.images.images[i], &tag)).collect();
        Ok(scorer.score_pairs(&pairs)?.into_iter().map(|s| s.score).collect())
    }

    /// The scores that percentiles under any other tag refer to: those of the first data set under its own tags.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn own_scores(&self, scorer: &Scorer) -> Result<Vec<f32>, JudgeError> {
        let judged = self.images.judge(scorer, str::to_owned)?;
        let rows = self.images.examples.iter().zip(judged).filter(|(e, _)| e.source == self.first);
        Ok(rows.map(|(_, judged)| judged.prediction as f32).collect())
    }
}

/// So many distinct images at most of each data set, evenly chosen, under all their tags.
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

/// Kolmogorov's distance between the uniform distribution and the percentiles of judged images under their own tags, for each
/// data set; `quantiles` are those that belong to a tag.
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
