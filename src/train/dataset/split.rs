//! Division into train, validation and test, by group, so that nothing of a tested prompt was seen before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{DataError, Example};

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// What the weights are fitted to.
    Train,
    /// What decides when to stop.
    Validation,
    /// What is reported.
    Test,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "train" => Ok(Self::Train),
            "validation" | "valid" | "val" => Ok(Self::Validation),
            "test" => Ok(Self::Test),
            _ => Err(format!("split is {text:?}, it must be train, validation or test")),
        }
    }
}

/// The divided data.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// What the weights are fitted to.
    pub train: Vec<Example>,
    /// What decides when to stop.
    pub validation: Vec<Example>,
    /// What is reported.
    pub test: Vec<Example>,
    /// How it was divided, in words.
    pub how: String,
}

impl Parts {
    /// Number of examples: train, validation, test.
    pub fn sizes(&self) -> [usize; 3] {
        [self.train.len(), self.validation.len(), self.test.len()]
    }
}

/// Divides checked examples: by their own `split` where every row has one, else by group, shuffled by `seed`. Groups that
/// share an image stay together.
///
/// # Errors
/// [`DataError::Leak`] when the rows' own parts share an image or a group, [`DataError::EmptyPart`].
pub fn divide(examples: Vec<Example>, validation_share: f64, test_share: f64, seed: u64) -> Result<Parts, DataError> {
    let stated = examples.iter().filter(|e| e.part.is_some()).count();
    let (assignment, how) = if stated == 0 {
        by_group(&examples, validation_share, test_share, seed)
    } else {
        let of = |e: &Example| e.part.unwrap_or(Part::Train);
        (examples.iter().map(of).collect(), "as the data say".to_owned())
    };
    let mut parts = Parts { how, ..Parts::default() };
    refuse_leaks(&examples, &assignment)?;
    for (example, part) in examples.into_iter().zip(assignment) {
        match part {
            Part::Train => parts.train.push(example),
            Part::Validation => parts.validation.push(example),
            Part::Test => parts.test.push(example),
        }
    }
    for (part, length) in [Part::Train, Part::Validation, Part::Test].into_iter().zip(parts.sizes()) {
        if length == 0 {
            let advice = if stated == 0 {
                "there are too few groups: give more tags, a column group, or a column split".to_owned()
            } else {
                format!("give some rows the split {part}")
            };
            return Err(DataError::EmptyPart { part, advice });
        }
    }
    Ok(parts)
}

/// A random division by group; every part gets at least one group as long as there are three.
fn by_group(examples: &[Example], validation_share: f64, test_share: f64, seed: u64) -> (Vec<Part>, String) {
    let joined = join_groups(examples);
    let mut groups: Vec<&str> = joined.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
    groups.shuffle(&mut StdRng::seed_from_u64(seed));
    let count = |share: f64| ((groups.len() as f64 * share).round() as usize).max(1);
    let (validation, test) = (count(validation_share), count(test_share));
    let mut part_of = HashMap::new();
    for (i, group) in groups.iter().enumerate() {
        let part = if i < test {
            Part::Test
        } else if i < test + validation {
            Part::Validation
        } else {
            Part::Train
        };
        part_of.insert(*group, part);
    }
    let assignment = examples.iter().map(|e| part_of[joined[e.group.as_str()]]).collect();
    (assignment, format!("by group (the tag, unless the data name groups), {} groups, seed {seed}", groups.len()))
}

/// Each group's representative: groups that share an image have the same one.
fn join_groups(examples: &[Example]) -> BTreeMap<&str, &str> {
    let mut parent: BTreeMap<&str, &str> = examples.iter().map(|e| (e.group.as_str(), e.group.as_str())).collect();
    fn root<'a>(parent: &BTreeMap<&'a str, &'a str>, mut group: &'a str) -> &'a str {
        while parent[group] != group {
            group = parent[group];
        }
        group
    }
    let mut first_with: HashMap<&str, &str> = HashMap::new();
    for example in examples {
        let other = *first_with.entry(example.content_id.as_str()).or_insert(&example.group);
        let (a, b) = (root(&parent, &example.group), root(&parent, other));
        parent.insert(a.max(b), a.min(b));
    }
    parent.keys().map(|&g| (g, root(&parent, g))).collect()
}

fn refuse_leaks(examples: &[Example], assignment: &[Part]) -> Result<(), DataError> {
    let mut seen: HashMap<String, Part> = HashMap::new();
    for (example, &part) in examples.iter().zip(assignment) {
        let keys = [
            (format!("image {}", example.content_id), format!("the image {}", example.path.display())),
            (format!("group {}", example.group), format!("the group (tag) {:?}", example.group)),
        ];
        for (key, what) in keys {
            let first = *seen.entry(key).or_insert(part);
            if first != part {
                return Err(DataError::Leak { what, first, second: part });
            }
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
            content_id: image.to_owned(),
        }
    }

    #[test]
    fn no_group_is_parted_and_the_seed_decides() {
        let examples: Vec<_> = (0..200).map(|i| example(&format!("i{i}"), &format!("tag {}", i % 40), None)).collect();
        let parts = divide(examples.clone(), 0.1, 0.2, 7).unwrap();
        assert_eq!(parts.sizes(), [140, 20, 40]);
        let tags = |v: &[Example]| v.iter().map(|e| e.tag.clone()).collect::<BTreeSet<_>>();
        assert!(tags(&parts.train).is_disjoint(&tags(&parts.test)));
        assert!(tags(&parts.train).is_disjoint(&tags(&parts.validation)));
        let again = divide(examples.clone(), 0.1, 0.2, 7).unwrap();
        assert_eq!(tags(&parts.test), tags(&again.test));
        assert_ne!(tags(&parts.test), tags(&divide(examples, 0.1, 0.2, 8).unwrap().test));
    }

    #[test]
    fn groups_that_share_an_image_stay_together() {
        let mut examples: Vec<_> = (0..30).map(|i| example(&format!("i{i}"), &format!("tag {i}"), None)).collect();
        examples.push(example("i3", "tag 17", None));
        examples.push(example("i17", "tag 29", None));
        for seed in 0..20 {
            let parts = divide(examples.clone(), 0.3, 0.3, seed).unwrap();
            let homes = [&parts.train, &parts.validation, &parts.test]
                .iter()
                .filter(|p| p.iter().any(|e| ["tag 3", "tag 17", "tag 29"].contains(&e.tag.as_str())))
                .count();
            assert_eq!(homes, 1);
        }
    }

    #[test]
    fn stated_parts_that_leak_are_refused_with_an_example() {
        let message = |a, b| divide(vec![a, b], 0.1, 0.1, 1).unwrap_err().to_string();
        let same_tag = message(example("a", "Dogs", Some(Part::Train)), example("b", "dogs", Some(Part::Test)));
        assert!(same_tag.contains("\"dogs\" is in train and in test"), "{same_tag}");
        let same_image = message(example("a", "x", Some(Part::Train)), example("a", "y", Some(Part::Validation)));
        assert!(same_image.contains("the image a is in train and in validation"), "{same_image}");
    }

    #[test]
    fn too_few_groups_are_named() {
        let error = divide(vec![example("a", "x", None)], 0.1, 0.1, 1).unwrap_err().to_string();
        assert!(error.contains("too few groups"), "{error}");
    }
}
