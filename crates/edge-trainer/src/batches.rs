//! Groups examples into batches. A batch holds several images of each tag, so that the ranking loss can compare them.
//! A batch also holds all examples of each of its images, so that every image is encoded once.

use std::collections::{BTreeMap, HashMap};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::dataset::Example;

/// Divides the examples into batches of about `batch` images for one epoch. Returns the indices of the examples of each
/// batch.
///
/// Each image is assigned to one of its tags at random. The images of a tag are shuffled and cut into runs of
/// `per_tag`; a single remaining image joins the last run, so that it has a partner. The runs are shuffled and joined
/// to batches. Each image adds all of its examples, including those under other tags.
///
/// Each data set contributes as many images as the smallest data set has. With one data set, every example occurs
/// exactly once.
pub fn epoch_batches(examples: &[Example], batch: usize, per_tag: usize, rng: &mut StdRng) -> Vec<Vec<usize>> {
    let examples_of = by_image(examples);
    let mut by_tag: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for image in even_share(examples, &examples_of, rng) {
        let listed = &examples_of[image];
        let at = if listed.len() > 1 { rng.random_range(0..listed.len()) } else { 0 };
        by_tag.entry(&examples[listed[at]].tag).or_default().push(image);
    }
    let mut batches = Vec::new();
    let mut current: Vec<usize> = Vec::new();
    for run in runs(by_tag, per_tag, rng) {
        if !current.is_empty() && current.len() + run.len() > batch {
            batches.push(std::mem::take(&mut current));
        }
        current.extend(run);
    }
    if !current.is_empty() {
        batches.push(current);
    }
    batches.iter().map(|images| images.iter().flat_map(|&image| examples_of[image].clone()).collect()).collect()
}

/// Draws from each data set as many images as the smallest data set has. Returns the image numbers in ascending order.
fn even_share(examples: &[Example], examples_of: &[Vec<usize>], rng: &mut StdRng) -> Vec<usize> {
    let mut by_source: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (image, listed) in examples_of.iter().enumerate() {
        by_source.entry(&examples[listed[0]].source).or_default().push(image);
    }
    let least = by_source.values().map(Vec::len).min().unwrap_or_default();
    let mut chosen: Vec<usize> = Vec::new();
    for mut images in by_source.into_values() {
        if images.len() > least {
            images.shuffle(rng);
            images.truncate(least);
        }
        chosen.extend(images);
    }
    chosen.sort_unstable();
    chosen
}

/// Divides all examples into batches of `at_once` images, in the order in which the images first occur. Returns the
/// indices of the examples of each batch.
pub fn in_order(examples: &[Example], at_once: usize) -> Vec<Vec<usize>> {
    by_image(examples).chunks(at_once.max(1)).map(<[Vec<usize>]>::concat).collect()
}

/// Returns the indices of the examples of each image.
fn by_image(examples: &[Example]) -> Vec<Vec<usize>> {
    let images = BatchImages::of_all(examples);
    let mut examples_of = vec![Vec::new(); images.first.len()];
    for (example, image) in images.image_of.into_iter().enumerate() {
        examples_of[image].push(example);
    }
    examples_of
}

/// Shuffles the images of each tag and cuts them into lists of `per_tag` images. Returns the lists of all tags in a
/// random order.
fn runs(by_tag: BTreeMap<&str, Vec<usize>>, per_tag: usize, rng: &mut StdRng) -> Vec<Vec<usize>> {
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for (_, mut members) in by_tag {
        members.shuffle(rng);
        let first = runs.len();
        runs.extend(members.chunks(per_tag).map(<[usize]>::to_vec));
        if runs.len() - first > 1 && runs.last().is_some_and(|run| run.len() == 1) {
            let single = runs.pop().unwrap_or_default();
            if let Some(run) = runs.last_mut() {
                run.extend(single);
            }
        }
    }
    runs.shuffle(rng);
    runs
}

/// The distinct images of a list of examples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchImages {
    /// For each image, the index of its first example.
    pub first: Vec<usize>,
    /// For each example, the index of its image in `first`.
    pub image_of: Vec<usize>,
}

impl BatchImages {
    /// Returns the images of the examples with indices `chosen`, in the order in which they first occur.
    pub fn of(examples: &[Example], chosen: &[usize]) -> Self {
        let mut known = HashMap::new();
        let mut first = Vec::new();
        let image_of = chosen.iter().map(|&example| {
            *known.entry(&examples[example].path).or_insert_with(|| {
                first.push(example);
                first.len() - 1
            })
        });
        Self { image_of: image_of.collect(), first }
    }

    /// Returns the images of all examples.
    pub fn of_all(examples: &[Example]) -> Self {
        Self::of(examples, &(0..examples.len()).collect::<Vec<_>>())
    }

    /// Returns [`Self::image_of`] as indices of tensor rows; `None` if each example has its own image.
    pub fn rows(&self) -> Option<Vec<i64>> {
        let is_same = self.first.len() == self.image_of.len();
        (!is_same).then(|| self.image_of.iter().map(|&image| image as i64).collect())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn examples<'a>(listed: impl IntoIterator<Item = (usize, &'a str)>) -> Vec<Example> {
        let example = |(image, tag): (usize, &str)| Example {
            path: format!("{image}.png").into(),
            tag: tag.to_owned(),
            score: 0.0,
            alignment: None,
            part: None,
            group: String::new(),
            source: String::new(),
            condition: None,
            content_id: String::new(),
        };
        listed.into_iter().map(example).collect()
    }

    #[test]
    fn every_example_occurs_once_and_rarely_alone() {
        let names: Vec<String> = (0..97).map(|i| format!("t{}", i % 9)).collect();
        let examples = examples(names.iter().map(String::as_str).enumerate());
        let batches = epoch_batches(&examples, 16, 4, &mut StdRng::seed_from_u64(3));
        let mut all: Vec<usize> = batches.concat();
        all.sort_unstable();
        assert_eq!(all, (0..97).collect::<Vec<_>>());
        for batch in &batches {
            assert!(batch.len() <= 17);
            for &i in batch {
                assert!(batch.iter().filter(|&&j| examples[j].tag == examples[i].tag).count() >= 2);
            }
        }
        assert_eq!(batches, epoch_batches(&examples, 16, 4, &mut StdRng::seed_from_u64(3)));
    }

    #[test]
    fn an_image_brings_all_its_tags_and_stands_for_each_in_turn() {
        let tags = ["a", "b", "c", "d"];
        let examples = examples((0..120).map(|i| (i / 3, tags[(i / 3 + i % 3) % 4])));
        let mut rng = StdRng::seed_from_u64(3);
        let mut companies = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let batches = epoch_batches(&examples, 8, 4, &mut rng);
            let mut all: Vec<usize> = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..120).collect::<Vec<_>>());
            for batch in &batches {
                let images = BatchImages::of(&examples, batch);
                assert!(images.first.len() <= 9 && batch.len() == 3 * images.first.len(), "{images:?}");
                let tag_of_first = |image: usize| images.image_of.iter().position(|&i| i == image).map(|at| batch[at]);
                companies.extend(tag_of_first(0).map(|example| (example / 3, batch.len())));
            }
        }
        assert!(companies.len() > 10, "the same images begin every batch: {companies:?}");
    }

    #[test]
    fn data_sets_have_an_even_share_of_an_epoch() {
        let mut examples = examples((0..90).map(|i| (i, ["a", "b"][i % 2])));
        examples.iter_mut().skip(20).for_each(|e| e.source = "large".to_owned());
        let mut rng = StdRng::seed_from_u64(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let all = epoch_batches(&examples, 8, 4, &mut rng).concat();
            assert_eq!((all.len(), all.iter().filter(|&&i| i < 20).count()), (40, 20));
            seen.extend(all);
        }
        assert_eq!(seen.len(), 90);
    }

    #[test]
    fn images_are_counted_once() {
        let examples = examples([(0, "a"), (1, "a"), (0, "b"), (2, "a")]);
        let images = BatchImages::of(&examples, &[2, 1, 0]);
        assert_eq!(images, BatchImages { first: vec![2, 1], image_of: vec![0, 1, 0] });
        assert_eq!(images.rows(), Some(vec![0, 1, 0]));
        assert_eq!(BatchImages::of(&examples, &[3, 1]).rows(), None);
        assert_eq!(in_order(&examples, 2), [vec![0, 2, 1], vec![3]]);
    }

    #[test]
    fn tags_with_a_single_image_are_kept() {
        let examples = examples([(0, "a"), (1, "b"), (2, "c")]);
        let batches = epoch_batches(&examples, 2, 2, &mut StdRng::seed_from_u64(1));
        assert_eq!(batches.concat().len(), 3);
    }
}
