//! Which tags are plain names of what images show, such as "dog", and which are sentences, styles or no tag at all.

use std::collections::{HashMap, HashSet};

use crate::dataset::Example;

/// Returns the tags that name what images show: those of images that are listed under several such tags, as "tench" and "fish". A prompt is
/// the only tag of its images, and a style says nothing about the content: its alignment is unknown.
pub(super) fn plain_names(examples: &[Example]) -> HashSet<String> {
    let mut tags_of: HashMap<(&str, &str), HashSet<&str>> = HashMap::new();
    for example in examples.iter().filter(|e| e.alignment.is_some()) {
        tags_of.entry((&example.source, &example.group)).or_default().insert(&example.tag);
    }
    tags_of.into_values().filter(|tags| tags.len() > 1).flatten().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn names_are_the_tags_of_images_with_several() {
        let example = |group: &str, tag: &str, alignment: Option<f32>| Example {
            path: PathBuf::new(),
            tag: tag.to_owned(),
            score: 1.0,
            alignment,
            part: None,
            group: group.to_owned(),
            source: "photos".to_owned(),
            condition: None,
            content_id: String::new(),
        };
        let examples = [
            example("1", "tench", Some(1.0)),
            example("1", "fish", Some(0.5)),
            example("1", "film grain", None),
            example("2", "a corgi, anime style", Some(4.0)),
            example("3", "film grain", None),
            example("3", "a good photo", None),
        ];
        assert_eq!(plain_names(&examples), HashSet::from(["tench", "fish"].map(str::to_owned)));
    }
}
