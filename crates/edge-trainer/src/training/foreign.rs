//! Images under tags that name something else. For a tag, an image that does not show it is a worse example than any image that does; a
//! model that never sees such pairs does not learn to look.

use std::collections::{HashMap, HashSet};

use rand::RngExt;
use rand::rngs::StdRng;

use super::inputs::TrainInputs;
use crate::dataset::Example;

/// Attempts to find a foreign tag for an image.
const ATTEMPTS: usize = 4;

/// The tags of each group of images, such as the images of a prompt.
pub(super) struct ForeignTags {
    /// The tags of the groups, by data set and group.
    tags_of: HashMap<(String, String), HashSet<String>>,
}

impl ForeignTags {
    /// Collects the tags that name what images show. There are none if the head cannot tell whether an image matches a tag.
    pub(super) fn of(inputs: TrainInputs<'_>) -> Self {
        let mut tags_of: HashMap<_, HashSet<String>> = HashMap::new();
        let examples: &[Example] = if inputs.backbone.knows_similarity() { inputs.train } else { &[] };
        for example in examples.iter().filter(|e| e.alignment.is_some()) {
            tags_of.entry(key(example)).or_default().insert(example.tag.clone());
        }
        Self { tags_of }
    }

    /// Draws pairs (row of an image, row of an example whose tag the image does not show), at most one for each image of the batch. Both
    /// come from the same data set, because only there it is known what is not shown.
    pub(super) fn draw(&self, batch: &[&Example], rng: &mut StdRng) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for (row, example) in batch.iter().enumerate() {
            let Some(shown) = self.tags_of.get(&key(example)).filter(|_| example.alignment.is_some()) else { continue };
            let found = (0..ATTEMPTS).map(|_| rng.random_range(0..batch.len())).find(|&other| {
                let tagged = batch[other];
                tagged.alignment.is_some() && tagged.source == example.source && !shown.contains(&tagged.tag)
            });
            pairs.extend(found.map(|other| (row, other)));
        }
        pairs
    }
}

fn key(example: &Example) -> (String, String) {
    (example.source.clone(), example.group.clone())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rand::SeedableRng;

    use super::*;

    fn example(source: &str, group: &str, tag: &str, alignment: Option<f32>) -> Example {
        Example {
            path: PathBuf::new(),
            tag: tag.to_owned(),
            score: 1.0,
            alignment,
            part: None,
            group: group.to_owned(),
            source: source.to_owned(),
            condition: None,
            content_id: String::new(),
        }
    }

    #[test]
    fn a_foreign_tag_is_one_that_no_image_of_the_group_has() {
        let examples = [
            example("photos", "1", "dog", Some(1.0)),
            example("photos", "1", "animal", Some(0.5)),
            example("photos", "2", "cat", Some(1.0)),
            example("photos", "2", "animal", Some(0.5)),
            example("other", "2", "car", Some(1.0)),
            example("styles", "1", "film grain", None),
        ];
        let mut tags_of: HashMap<_, HashSet<String>> = HashMap::new();
        for e in examples.iter().filter(|e| e.alignment.is_some()) {
            tags_of.entry(key(e)).or_default().insert(e.tag.clone());
        }
        let foreign = ForeignTags { tags_of };
        let batch: Vec<&Example> = examples.iter().collect();
        let mut rng = StdRng::seed_from_u64(1);
        let pairs: HashSet<(usize, usize)> = (0..200).flat_map(|_| foreign.draw(&batch, &mut rng)).collect();
        assert_eq!(pairs, HashSet::from([(0, 2), (1, 2), (2, 0), (3, 0)]));
    }
}
