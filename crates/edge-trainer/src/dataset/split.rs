//! Divides examples into train, validation and test parts. Every split unit (the field `group`, by default the tag)
//! stays in one part.

use std::collections::{BTreeSet, HashMap, HashSet};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{DataError, Example, Fold, Part};

/// The examples of the three parts of the data.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// Examples that the weights are fitted to.
    pub train: Vec<Example>,
    /// Examples that decide which epoch is kept.
    pub validation: Vec<Example>,
    /// Examples that the reported figures are measured on.
    pub test: Vec<Example>,
    /// Description of the division; completes the phrase "divided ...".
    pub how: String,
}

impl Parts {
    /// Returns the numbers of examples as `[train, validation, test]`.
    pub fn sizes(&self) -> [usize; 3] {
        [self.train.len(), self.validation.len(), self.test.len()]
    }
}

/// Settings of the division of examples whose data set states no parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// Share of the split units in the validation part, 0 to 1.
    pub validation: f64,
    /// Share of the split units in the test part, 0 to 1.
    pub test: f64,
    /// Seed with which split units are drawn.
    pub seed: u64,
    /// Fold that becomes the test part; `None` to draw the test part by `test` and `seed`.
    pub fold: Option<Fold>,
    /// Whether the name of a split unit alone decides its part. Data sets with common split units then assign them to
    /// the same part. A division into folds always uses the name.
    pub by_name: bool,
}

/// Divides checked examples into parts.
///
/// If any row states a part, rows without a stated part are for training. If no row states the validation part, it is
/// drawn from the training part. If no row states any part, the seed draws the split units of each part. With a fold or
/// [`Shares::by_name`], stated parts are ignored and the names of the split units decide. Split units that share an
/// image get the same part.
///
/// # Errors
/// [`DataError::Leak`] if two stated parts share an image or a split unit, [`DataError::EmptyPart`].
pub fn divide(examples: Vec<Example>, shares: Shares) -> Result<Parts, DataError> {
    let by_name = shares.by_name || shares.fold.is_some();
    let stated = !by_name && examples.iter().any(|e| e.part.is_some());
    let (assignment, how) = match (stated, by_name) {
        (true, _) => as_stated(&examples, shares.validation, shares.seed)?,
        (false, true) => by_name_of_group(&examples, shares),
        (false, false) => by_group(&examples, shares.validation, shares.test, shares.seed),
    };
    let mut parts = Parts { how, ..Parts::default() };
    for (example, part) in examples.into_iter().zip(assignment) {
        match part {
            Part::Train => parts.train.push(example),
            Part::Validation => parts.validation.push(example),
            Part::Test => parts.test.push(example),
        }
    }
    for (part, length) in [Part::Train, Part::Validation, Part::Test].into_iter().zip(parts.sizes()) {
        if length == 0 {
            let advice = if stated {
                format!("set the column split to {part} in some rows")
            } else {
                "there are too few groups. Add images of more tags, a column group or a column split".to_owned()
            };
            return Err(DataError::EmptyPart { part, advice });
        }
    }
    Ok(parts)
}

/// Returns the part of each example, and a description of the division. The rows state the parts; rows that state none
/// are for training. If no row states the validation part, the seed draws it from the training part.
fn as_stated(examples: &[Example], validation_share: f64, seed: u64) -> Result<(Vec<Part>, String), DataError> {
    let mut assignment: Vec<Part> = examples.iter().map(|e| e.part.unwrap_or(Part::Train)).collect();
    refuse_leaks(examples, &assignment)?;
    if assignment.contains(&Part::Validation) {
        return Ok((assignment, "as stated in the data".to_owned()));
    }
    let sets = joined_groups(examples);
    let training = sets.iter().zip(&assignment).filter(|(_, part)| **part == Part::Train).map(|(&set, _)| set);
    let training = shuffled(training, seed);
    let chosen: HashSet<usize> = training.iter().take(share_of(training.len(), validation_share)).copied().collect();
    for (set, part) in sets.iter().zip(&mut assignment) {
        if *part == Part::Train && chosen.contains(set) {
            *part = Part::Validation;
        }
    }
    let how = format!(
        "as stated in the data; the validation part is {} groups that seed {seed} drew from the training part",
        chosen.len()
    );
    Ok((assignment, how))
}

/// Draws the part of each split unit. If there are at least three split units, every part gets at least one. Returns
/// the part of each example, and a description of the division.
fn by_group(examples: &[Example], validation_share: f64, test_share: f64, seed: u64) -> (Vec<Part>, String) {
    let sets = joined_groups(examples);
    let order = shuffled(sets.iter().copied(), seed);
    let (validation, test) = (share_of(order.len(), validation_share), share_of(order.len(), test_share));
    let part_at = |place: usize| match place {
        _ if place < test => Part::Test,
        _ if place < test + validation => Part::Validation,
        _ => Part::Train,
    };
    let part_of: HashMap<usize, Part> = order.iter().zip(0..).map(|(&set, place)| (set, part_at(place))).collect();
    let assignment = sets.iter().map(|set| part_of[set]).collect();
    let how = format!("by group (a group is a tag unless the data state groups), {} groups, seed {seed}", order.len());
    (assignment, how)
}

/// Assigns each split unit a part by its name, independently of the other split units. The folds do not depend on the
/// seed, so that trainings with different seeds are judged on the same images.
fn by_name_of_group(examples: &[Example], shares: Shares) -> (Vec<Part>, String) {
    let sets = joined_groups(examples);
    let mut names: HashMap<usize, &str> = HashMap::new();
    for (example, &set) in examples.iter().zip(&sets) {
        let name = names.entry(set).or_insert(&example.group);
        *name = (*name).min(&example.group);
    }
    let part = |name: &str| {
        let draw = |purpose: &str, seed: u64| unit_hash(&format!("{purpose} {seed} {name}"));
        let is_test = match shares.fold {
            Some(fold) => (draw("fold", 0) * fold.of as f64) as usize + 1 == fold.number,
            None => draw("test", shares.seed) < shares.test,
        };
        let is_validation = draw("validation", shares.seed) < shares.validation;
        if is_test { Part::Test } else { [Part::Train, Part::Validation][usize::from(is_validation)] }
    };
    let assignment = sets.iter().map(|set| part(names[set])).collect();
    let test = shares
        .fold
        .map_or_else(|| format!("seed {}", shares.seed), |fold| format!("fold {fold}, seed {}", shares.seed));
    let how = format!(
        "by the names of the groups (a group is a tag unless the data state groups), {} groups, {test}",
        names.len()
    );
    (assignment, how)
}

/// Returns a pseudo-random number from 0 (included) to 1 (excluded) that depends on the text only.
fn unit_hash(text: &str) -> f64 {
    let hash = blake3::hash(text.as_bytes());
    let first = u64::from_le_bytes(std::array::from_fn(|i| hash.as_bytes()[i]));
    (first >> 11) as f64 / (1u64 << 53) as f64
}

/// Returns the distinct numbers of `sets` in an order drawn by the seed.
fn shuffled(sets: impl Iterator<Item = usize>, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = sets.collect::<BTreeSet<_>>().into_iter().collect();
    order.shuffle(&mut StdRng::seed_from_u64(seed));
    order
}

fn share_of(count: usize, share: f64) -> usize {
    ((count as f64 * share).round() as usize).max(1)
}

/// Returns for each example the number of the set that its split unit belongs to. Split units that share an image form
/// one set. The numbers follow the alphabetical order of the split units' names and do not depend on the order of the
/// rows.
fn joined_groups(examples: &[Example]) -> Vec<usize> {
    let names: BTreeSet<&str> = examples.iter().map(|e| e.group.as_str()).collect();
    let numbers: HashMap<&str, usize> = names.into_iter().zip(0..).collect();
    let own: Vec<usize> = examples.iter().map(|e| numbers[e.group.as_str()]).collect();
    let mut parent: Vec<usize> = (0..numbers.len()).collect();
    let mut first_with: HashMap<&str, usize> = HashMap::new();
    for (example, &group) in examples.iter().zip(&own) {
        let other = *first_with.entry(example.content_id.as_str()).or_insert(group);
        let (a, b) = (root(&mut parent, group), root(&mut parent, other));
        parent[a.max(b)] = a.min(b);
    }
    own.into_iter().map(|group| root(&mut parent, group)).collect()
}

/// Returns the root of a split unit in the union-find forest `parent`.
fn root(parent: &mut [usize], mut group: usize) -> usize {
    while parent[group] != group {
        // Path halving: without it, long chains of shared images would take quadratic time.
        parent[group] = parent[parent[group]];
        group = parent[group];
    }
    group
}

fn refuse_leaks(examples: &[Example], assignment: &[Part]) -> Result<(), DataError> {
    let (mut images, mut groups) = (HashMap::new(), HashMap::new());
    for (example, &second) in examples.iter().zip(assignment) {
        let (path, first) = *images.entry(example.content_id.as_str()).or_insert((&example.path, second));
        if first != second {
            let copy =
                if *path == example.path { String::new() } else { format!(" (also as {})", example.path.display()) };
            let item = format!("the image {}{copy}", path.display());
            return Err(DataError::Leak { item, first, second });
        }
        let first = *groups.entry(example.group.as_str()).or_insert(second);
        if first != second {
            let item = format!("the group {:?} (a group is a tag unless the data state groups)", example.group);
            return Err(DataError::Leak { item, first, second });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(image: &str, tag: &str, part: Option<Part>) -> Example {
        Example {
            path: image.into(),
            tag: tag.to_owned(),
            score: 1.0,
            alignment: None,
            part,
            group: tag.to_lowercase(),
            condition: None,
            source: String::new(),
            content_id: image.to_owned(),
        }
    }

    fn shares(validation: f64, test: f64, seed: u64) -> Shares {
        Shares { validation, test, seed, fold: None, by_name: false }
    }

    #[test]
    fn folds_cover_all_groups_once_and_follow_from_their_names() {
        let examples: Vec<_> = (0..300).map(|i| example(&format!("i{i}"), &format!("tag {}", i % 100), None)).collect();
        let tags = |v: &[Example]| v.iter().map(|e| e.tag.clone()).collect::<BTreeSet<_>>();
        let test = |examples: &[Example], number, seed| {
            let fold = Some(Fold { number, of: 5 });
            let parts = divide(examples.to_vec(), Shares { fold, ..shares(0.1, 0.2, seed) }).unwrap();
            assert!(tags(&parts.train).is_disjoint(&tags(&parts.test)));
            assert!(tags(&parts.train).is_disjoint(&tags(&parts.validation)));
            assert!(parts.how.contains(&format!("fold {number}/5")), "{}", parts.how);
            tags(&parts.test)
        };
        let mut seen = BTreeSet::new();
        for number in 1..=5 {
            let of_fold = test(&examples, number, 1);
            assert!((5..45).contains(&of_fold.len()), "{}", of_fold.len());
            assert_eq!(of_fold, test(&examples, number, 2));
            // Stated parts and the other groups have no influence.
            let some: Vec<_> =
                examples.iter().take(50).map(|e| Example { part: Some(Part::Train), ..e.clone() }).collect();
            assert!(test(&some, number, 1).is_subset(&of_fold));
            of_fold.into_iter().for_each(|tag| assert!(seen.insert(tag)));
        }
        assert_eq!(seen.len(), 100);
        let together = Shares { by_name: true, ..shares(0.1, 0.2, 3) };
        let all = divide(examples.clone(), together).unwrap();
        let some = divide(examples[..60].to_vec(), together).unwrap();
        assert!(tags(&some.test).is_subset(&tags(&all.test)) && !some.test.is_empty());
    }

    #[test]
    fn no_group_is_parted_and_the_seed_decides() {
        let examples: Vec<_> = (0..200).map(|i| example(&format!("i{i}"), &format!("tag {}", i % 40), None)).collect();
        let parts = divide(examples.clone(), shares(0.1, 0.2, 7)).unwrap();
        assert_eq!(parts.sizes(), [140, 20, 40]);
        let tags = |v: &[Example]| v.iter().map(|e| e.tag.clone()).collect::<BTreeSet<_>>();
        assert!(tags(&parts.train).is_disjoint(&tags(&parts.test)));
        assert!(tags(&parts.train).is_disjoint(&tags(&parts.validation)));
        let again = divide(examples.clone(), shares(0.1, 0.2, 7)).unwrap();
        assert_eq!(tags(&parts.test), tags(&again.test));
        assert_ne!(tags(&parts.test), tags(&divide(examples, shares(0.1, 0.2, 8)).unwrap().test));
    }

    #[test]
    fn groups_that_share_an_image_stay_together() {
        let mut examples: Vec<_> = (0..30).map(|i| example(&format!("i{i}"), &format!("tag {i}"), None)).collect();
        examples.push(example("i3", "tag 17", None));
        examples.push(example("i17", "tag 29", None));
        for seed in 0..20 {
            let parts = divide(examples.clone(), shares(0.3, 0.3, seed)).unwrap();
            let homes = [&parts.train, &parts.validation, &parts.test]
                .iter()
                .filter(|p| p.iter().any(|e| ["tag 3", "tag 17", "tag 29"].contains(&e.tag.as_str())))
                .count();
            assert_eq!(homes, 1);
        }
    }

    #[test]
    fn stated_parts_that_leak_are_refused_with_an_example() {
        let message = |a, b| divide(vec![a, b], shares(0.1, 0.1, 1)).unwrap_err().to_string();
        let same_tag = message(example("a", "Dogs", Some(Part::Train)), example("b", "dogs", Some(Part::Test)));
        let reason = "the group \"dogs\" (a group is a tag unless the data state groups) is in train and in test";
        assert!(same_tag.contains(reason), "{same_tag}");
        let same_image = message(example("a", "x", Some(Part::Train)), example("a", "y", Some(Part::Validation)));
        assert!(same_image.contains("the image a is in train and in validation"), "{same_image}");
    }

    #[test]
    fn too_few_groups_are_named() {
        let error = divide(vec![example("a", "x", None)], shares(0.1, 0.1, 1)).unwrap_err().to_string();
        assert!(error.contains("too few groups"), "{error}");
    }

    #[test]
    fn without_a_stated_validation_part_it_is_taken_from_the_training_part() {
        let part = |i: usize| Some(if i.is_multiple_of(4) { Part::Test } else { Part::Train });
        let examples: Vec<_> =
            (0..80).map(|i| example(&format!("i{i}"), &format!("tag {}", i % 40), part(i))).collect();
        let parts = divide(examples, shares(0.1, 0.5, 7)).unwrap();
        assert_eq!(parts.sizes(), [54, 6, 20]);
        assert!(parts.how.contains("the validation part is 3 groups that seed 7 drew"), "{}", parts.how);
        assert!(parts.test.iter().all(|e| e.part == Some(Part::Test)));
    }

    #[test]
    fn a_long_chain_of_shared_images_is_one_group_and_takes_no_time() {
        const ROWS: usize = 100_000;
        let row = |i: usize| example(&format!("image {}", i / 2), &format!("tag {:06}", i.div_ceil(2)), None);
        let chain: Vec<_> = (0..ROWS).map(row).collect();
        let began = std::time::Instant::now();
        assert_eq!(joined_groups(&chain), vec![0; ROWS]);
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    }
}
