//! Groups examples by image, and runs a function on all images in parallel.

use std::collections::{HashMap, HashSet};

use edge_model::image_input::InputRule;
use ndarray::Array3;

use crate::dataset::Example;
use crate::dataset::damage::UNDAMAGED;
use crate::loader::{Crop, LoadJob, pixels};
use crate::message::{Listener, Message};
use crate::parallel;
use crate::training::error::LearnError;

/// The distinct images of some examples, in the order of their first examples.
pub(super) struct DistinctImages<'a> {
    /// The first example of each image.
    pub(super) first: Vec<&'a Example>,
    /// All examples of each image.
    pub(super) examples: Vec<Vec<&'a Example>>,
}

impl<'a> DistinctImages<'a> {
    /// Groups the examples by content id.
    pub(super) fn of(examples: impl Iterator<Item = &'a Example>) -> Self {
        let mut index_of: HashMap<&str, usize> = HashMap::new();
        let mut images = Self { first: Vec::new(), examples: Vec::new() };
        for example in examples {
            let at = *index_of.entry(&example.content_id).or_insert_with(|| {
                images.first.push(example);
                images.examples.push(Vec::new());
                images.first.len() - 1
            });
            images.examples[at].push(example);
        }
        images
    }

    /// For each image, whether it is the original and not a damaged copy. An image is a copy if its group has an undamaged image and it is none.
    pub(super) fn originals(&self) -> Vec<bool> {
        let group = |example: &'a Example| (example.source.as_str(), example.group.as_str());
        let is_undamaged = |example: &Example| example.condition.as_deref() == Some(UNDAMAGED);
        let undamaged = self.first.iter().filter(|example| is_undamaged(example));
        let photographs: HashSet<_> = undamaged.map(|example| group(example)).collect();
        self.first.iter().map(|example| is_undamaged(example) || !photographs.contains(&group(example))).collect()
    }
}

/// Calls `work` with the input `[3, H, W]` of every image, on all processors. Returns the results in the order of the images.
pub(super) fn on_images<T: Send>(
    what: &str,
    images: &[&Example],
    rule: &InputRule,
    work: impl Fn(Array3<f32>) -> T + Sync,
    listener: &mut dyn Listener,
) -> Result<Vec<T>, LearnError> {
    let one = |i: usize| pixels(&LoadJob::of(images[i], Crop::AsScored), rule).map(&work);
    let mut results: Vec<Option<T>> = images.iter().map(|_| None).collect();
    listener.on(Message::Begin { what: what.to_owned(), steps: images.len() as u64 });
    parallel::for_each(images.len(), one, |i, result| {
        results[i] = Some(result?);
        listener.on(Message::Advance { measure: String::new() });
        Ok::<(), LearnError>(())
    })?;
    listener.on(Message::End);
    Ok(results.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn damaged_copies_are_no_originals() {
        let rows = [
            ("photos", "a", Some(UNDAMAGED), true),
            ("photos", "a", Some("motion 2"), false),
            ("photos", "a", None, false),
            // The undamaged photograph of this group is in another part.
            ("photos", "b", Some("motion 2"), true),
            // Another data set may name its groups alike.
            ("rated", "a", Some("generator_1"), true),
            ("rated", "c", None, true),
        ];
        let example = |(i, (source, group, condition, _)): (usize, &(&str, &str, Option<&str>, bool))| Example {
            path: PathBuf::new(),
            tag: String::new(),
            score: 0.0,
            alignment: None,
            part: None,
            group: (*group).to_owned(),
            source: (*source).to_owned(),
            condition: condition.map(str::to_owned),
            content_id: i.to_string(),
        };
        let examples: Vec<Example> = rows.iter().enumerate().map(example).collect();
        let wanted: Vec<bool> = rows.iter().map(|row| row.3).collect();
        assert_eq!(DistinctImages::of(examples.iter()).originals(), wanted);
    }
}
