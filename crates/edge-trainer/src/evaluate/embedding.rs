//! Embeds images with the scorer, each image once, and scores them under any tags.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use edge_model::image_input::{Limits, RgbImage, read_file};
use edge_model::scorer::{EncodedTag, ImageEmbedding, ImageFeatures, Scorer};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::error::JudgeError;
use crate::batches::BatchImages;
use crate::dataset::Example;
use crate::message::{Listener, Message};
use crate::metrics::Judged;

/// Examples with the features of their images.
#[derive(Debug)]
pub struct Embedded<'a> {
    /// The examples: images, each with a tag and a true score.
    pub examples: &'a [Example],
    /// Features of each example's image. Examples of the same image share the features, because patch tokens are large.
    pub images: Vec<Arc<ImageFeatures>>,
}

/// Embeds all images in batches that fit the device. An image with several tags is embedded once. Progress messages
/// contain `title`.
///
/// # Errors
/// [`JudgeError::Image`], [`JudgeError::Scorer`].
pub fn embed<'a>(
    scorer: &Scorer,
    examples: &'a [Example],
    title: &str,
    listener: &mut dyn Listener,
) -> Result<Embedded<'a>, JudgeError> {
    let policy = scorer.policy();
    let at_once = (policy.image_batch * policy.streams).max(1);
    let rows = BatchImages::of_all(examples);
    let distinct: Vec<&Path> = rows.first.iter().map(|&i| examples[i].path.as_path()).collect();
    listener.on(Message::Begin { what: title.to_owned(), steps: distinct.len() as u64 });
    let mut images = Vec::with_capacity(distinct.len());
    for chunk in distinct.chunks(at_once) {
        let inputs = decode(scorer, chunk)?;
        images.extend(scorer.embed(&inputs)?.into_iter().map(Arc::new));
        for _ in chunk {
            listener.on(Message::Advance { measure: String::new() });
        }
    }
    listener.on(Message::End);
    let of_example = rows.image_of.iter().map(|&image| Arc::clone(&images[image])).collect();
    Ok(Embedded { examples, images: of_example })
}

impl<'a> Embedded<'a> {
    /// Combines examples with image embeddings that were computed before, such as those of an encoder fit.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`] for an embedding that cannot be stored as 16-bit floats, [`JudgeError::Internal`] for an
    /// image without an embedding.
    pub fn known<'t>(
        examples: &'a [Example],
        embedding: impl Fn(&Example) -> Option<&'t [f32]>,
    ) -> Result<Self, JudgeError> {
        let image = |example: &Example| {
            let missing = || JudgeError::Internal(format!("{} was not embedded", example.path.display()));
            let rounded = ImageEmbedding::rounded(embedding(example).ok_or_else(missing)?.iter())?;
            Ok(Arc::new(rounded.into()))
        };
        let images = examples.iter().map(image).collect::<Result<_, JudgeError>>()?;
        Ok(Self { examples, images })
    }
}

/// Decodes images on all processors, in their order.
fn decode(scorer: &Scorer, chunk: &[&Path]) -> Result<Vec<RgbImage>, JudgeError> {
    let decoded: Vec<_> = chunk.par_iter().map(|path| decode_one(scorer, path)).collect();
    decoded.into_iter().collect()
}

fn decode_one(scorer: &Scorer, path: &Path) -> Result<RgbImage, JudgeError> {
    let limits = Limits::default();
    read_file(path, &limits)
        .and_then(|bytes| scorer.decode(&bytes, &limits))
        .map(|picture| scorer.encoder_input(&picture))
        .map_err(|e| JudgeError::Image { path: path.to_owned(), reason: e.to_string() })
}

impl Embedded<'_> {
    /// Scores every image under the tag that `tag_of` returns for the image's own tag. The truth remains the rating
    /// under the own tag.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn judge(&self, scorer: &Scorer, tag_of: impl Fn(&str) -> String) -> Result<Vec<Judged>, JudgeError> {
        let mut encoded: HashMap<String, EncodedTag> = HashMap::new();
        for example in self.examples {
            if let Entry::Vacant(entry) = encoded.entry(tag_of(&example.tag)) {
                let embedding = scorer.encode_tag(entry.key())?;
                entry.insert(embedding);
            }
        }
        let pairs: Vec<_> = self
            .examples
            .iter()
            .zip(&self.images)
            .filter_map(|(example, image)| Some((&**image, encoded.get(&tag_of(&example.tag))?)))
            .collect();
        let scored = scorer.score_pairs(&pairs)?;
        let judged = self.examples.iter().zip(scored).map(|(example, scored)| Judged {
            tag: example.tag.clone(),
            truth: f64::from(example.score),
            prediction: f64::from(scored.score),
        });
        Ok(judged.collect())
    }

    /// Returns the share of images, 0 to 1, whose own tag has the highest similarity of all tags. The second value is
    /// the expected share if a tag is chosen at random.
    ///
    /// # Errors
    /// [`JudgeError::Scorer`].
    pub fn retrieval(&self, scorer: &Scorer) -> Result<(f64, f64), JudgeError> {
        let tags = distinct_tags(self.examples);
        let encoded = tags.iter().map(|t| scorer.encode_tag(t)).collect::<Result<Vec<_>, _>>()?;
        let mut found = 0usize;
        for (example, image) in self.examples.iter().zip(&self.images) {
            let similarities = encoded.iter().map(|tag| image.embedding.similarity(tag));
            let best = similarities.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
            found += usize::from(best.is_some_and(|(i, _)| tags[i] == example.tag));
        }
        Ok((found as f64 / self.examples.len().max(1) as f64, 1.0 / tags.len().max(1) as f64))
    }
}

/// Returns the distinct tags of the examples in alphabetical order.
pub fn distinct_tags(examples: &[Example]) -> Vec<String> {
    let mut tags: Vec<String> = examples.iter().map(|e| e.tag.clone()).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// Returns a map from each tag to its replacement in the test with shuffled tags. The replacement is the next tag of
/// the same data set in an order drawn by `seed`. If a data set has several tags, none is its own replacement.
pub fn shuffled_tags(examples: &[Example], seed: u64) -> HashMap<String, String> {
    let mut by_source: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for example in examples {
        by_source.entry(&example.source).or_default().insert(&example.tag);
    }
    let mut replacements = HashMap::new();
    for tags in by_source.into_values() {
        let mut order: Vec<&str> = tags.into_iter().collect();
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        let next = order.iter().cycle().skip(1);
        replacements.extend(order.iter().zip(next).map(|(tag, next)| ((*tag).to_owned(), (*next).to_owned())));
    }
    replacements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tag_stands_in_for_itself() {
        let example = |i: usize| Example {
            path: std::path::PathBuf::new(),
            tag: format!("t{}", i % 9),
            score: 0.0,
            alignment: None,
            part: None,
            group: String::new(),
            source: if i % 9 < 4 { "a" } else { "b" }.to_owned(),
            condition: None,
            content_id: String::new(),
        };
        let examples: Vec<Example> = (0..30).map(example).collect();
        let map = shuffled_tags(&examples, 5);
        assert_eq!(map.len(), 9);
        assert!(map.iter().all(|(a, b)| a != b && (a < &"t4".to_owned()) == (b < &"t4".to_owned())));
        assert_eq!(map, shuffled_tags(&examples, 5));
    }
}
