//! Which images stand together in a step. Several images of each tag do, so that there are pairs to rank.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Divides the examples (given by their tags) into batches of about `batch` indices for one epoch: the images of each tag
/// are shuffled and cut into runs of `per_tag`, the runs are shuffled and lined up. Every example occurs exactly once. A
/// tag's last run takes a single left-over image in, so that it has a partner.
pub fn epoch_batches(tags: &[&str], batch: usize, per_tag: usize, rng: &mut StdRng) -> Vec<Vec<usize>> {
    let mut by_tag: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, tag) in tags.iter().enumerate() {
        by_tag.entry(tag).or_default().push(i);
    }
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for members in by_tag.values_mut() {
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
    let mut batches = Vec::new();
    let mut current: Vec<usize> = Vec::new();
    for run in runs {
        if !current.is_empty() && current.len() + run.len() > batch {
            batches.push(std::mem::take(&mut current));
        }
        current.extend(run);
    }
    if !current.is_empty() {
        batches.push(current);
    }
    batches
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_example_occurs_once_and_rarely_alone() {
        let names: Vec<String> = (0..97).map(|i| format!("t{}", i % 9)).collect();
        let tags: Vec<&str> = names.iter().map(String::as_str).collect();
        let batches = epoch_batches(&tags, 16, 4, &mut StdRng::seed_from_u64(3));
        let mut all: Vec<usize> = batches.concat();
        all.sort_unstable();
        assert_eq!(all, (0..97).collect::<Vec<_>>());
        for batch in &batches {
            assert!(batch.len() <= 17);
            for &i in batch {
                assert!(batch.iter().filter(|&&j| tags[j] == tags[i]).count() >= 2);
            }
        }
        assert_eq!(batches, epoch_batches(&tags, 16, 4, &mut StdRng::seed_from_u64(3)));
    }

    #[test]
    fn tags_with_a_single_image_are_kept() {
        let batches = epoch_batches(&["a", "b", "c"], 2, 2, &mut StdRng::seed_from_u64(1));
        assert_eq!(batches.concat().len(), 3);
    }
}
