//! Finds what a model gets wrong on test images, for its model card.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use edge_model::scorer::Scorer;

use super::embedding::Embedded;
use super::error::JudgeError;
use crate::dataset::Example;
use crate::dataset::damage::UNDAMAGED;
use crate::metrics::Judged;

/// How often the first suggested tag of a photograph is right, and which suggestions were wrong.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Suggestions {
    /// Number of photographs.
    pub photographs: usize,
    /// Number of photographs whose nearest tag of the vocabulary is one of their names.
    pub right: usize,
    /// Names of photographs with a wrong suggestion, and the suggestion, in the order of the photographs.
    pub wrong: Vec<(Vec<String>, String)>,
}

/// Suggests a tag of `vocabulary` for each undamaged photograph that has several of the `names`.
///
/// # Errors
/// [`JudgeError::Scorer`].
pub fn suggestions(
    images: &Embedded<'_>,
    scorer: &Scorer,
    vocabulary: &[String],
    names: &HashSet<String>,
) -> Result<Suggestions, JudgeError> {
    let mut photographs: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for (at, example) in images.examples.iter().enumerate() {
        if example.condition.as_deref() == Some(UNDAMAGED) && names.contains(&example.tag) {
            photographs.entry(&example.content_id).or_insert((at, BTreeSet::new())).1.insert(&example.tag);
        }
    }
    let encoded = vocabulary.iter().map(|tag| scorer.encode_tag(tag)).collect::<Result<Vec<_>, _>>()?;
    let mut suggestions = Suggestions { photographs: photographs.len(), ..Suggestions::default() };
    for (at, own) in photographs.into_values() {
        let similarities = encoded.iter().map(|tag| images.images[at].embedding.similarity(tag));
        let Some((best, _)) = similarities.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)) else { break };
        let suggested = &vocabulary[best];
        if own.iter().any(|name| name.eq_ignore_ascii_case(suggested)) {
            suggestions.right += 1;
        } else {
            suggestions.wrong.push((own.into_iter().map(str::to_owned).collect(), suggested.clone()));
        }
    }
    Ok(suggestions)
}

/// An image whose score is far from its rating.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreError {
    /// Name of the file.
    pub file: String,
    /// Tag, rating and score.
    pub judged: Judged,
}

/// Returns the images of the first data set with the largest errors, at most `most`, the largest first.
pub fn largest_errors(examples: &[Example], judged: &[Judged], most: usize) -> Vec<ScoreError> {
    let first = examples.first().map_or("", |example| example.source.as_str());
    let mut rows: Vec<(&Example, &Judged)> = examples.iter().zip(judged).filter(|(e, _)| e.source == first).collect();
    let error = |judged: &Judged| (judged.prediction - judged.truth).abs();
    rows.sort_by(|a, b| error(b.1).partial_cmp(&error(a.1)).unwrap_or(Ordering::Equal));
    let file = |example: &Example| example.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    rows.into_iter()
        .take(most)
        .map(|(example, judged)| ScoreError { file: file(example), judged: judged.clone() })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_largest_errors_of_the_first_data_set_come_first() {
        let example = |i: usize, source: &str| Example {
            path: PathBuf::from(format!("images/{i}.jpg")),
            tag: "a dog".to_owned(),
            score: 2.0,
            alignment: None,
            part: None,
            group: String::new(),
            source: source.to_owned(),
            condition: None,
            content_id: i.to_string(),
        };
        let examples = [example(0, "a"), example(1, "a"), example(2, "b"), example(3, "a")];
        let judged = [2.5, 0.0, 9.0, 3.0].map(|prediction| Judged { tag: "a dog".to_owned(), truth: 2.0, prediction });
        let found = largest_errors(&examples, &judged, 2);
        assert_eq!(found.iter().map(|error| error.file.as_str()).collect::<Vec<_>>(), ["1.jpg", "3.jpg"]);
        assert!(largest_errors(&[], &[], 2).is_empty());
    }
}
