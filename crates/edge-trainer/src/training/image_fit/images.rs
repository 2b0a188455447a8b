//! Groups examples by image, and runs a function on all images in parallel.

use std::collections::HashMap;

use edge_model::image_input::InputRule;
use ndarray::Array3;

use crate::dataset::Example;
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
