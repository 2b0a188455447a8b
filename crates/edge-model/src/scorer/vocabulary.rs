//! Tags that a model does not know. It scores them, but the tag has little effect on the score.

use std::collections::HashSet;
use std::fmt;

use super::encoded::EncodedTag;

/// A tag that the model does not know.
#[derive(Debug, Clone, PartialEq)]
pub enum UnknownTag {
    /// The tag is not in the vocabulary of a model with a closed vocabulary.
    Tag {
        /// Text of the tag.
        tag: String,
        /// The number of tags in the vocabulary.
        known: usize,
        /// The known tag with the nearest text embedding, and the cosine of the two embeddings, -1..=1. The mean embedding of all
        /// known tags is subtracted from both embeddings first.
        nearest: Option<(String, f32)>,
    },
    /// The model knows whole words, and some words of the tag are none of them.
    Words {
        /// Text of the tag.
        tag: String,
        /// The unknown words, in lower case.
        words: Vec<String>,
    },
}

/// Writes the warning, for example `the model does not know the tag "a lake": ...`.
impl fmt::Display for UnknownTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tag, known, nearest) = match self {
            Self::Tag { tag, known, nearest } => (tag, known, nearest),
            Self::Words { tag, words } => {
                let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                return write!(
                    f,
                    "the model does not know {} in the tag {tag:?}, so it cannot tell whether an image shows it. Use common words",
                    words.join(", ")
                );
            }
        };
        write!(f, "the model does not know the tag {tag:?}: it was trained on {known} other tags. ")?;
        if let Some((nearest, similarity)) = nearest {
            write!(f, "The nearest of them is {nearest:?} (cosine of the text embeddings {similarity:.2}). ")?;
        }
        write!(f, "Scores under {tag:?} depend on the image and hardly on the tag")
    }
}

impl UnknownTag {
    /// Describes a tag outside the vocabulary. `known` holds all tags of the vocabulary, encoded.
    pub(super) fn new(tag: &EncodedTag, known: &[EncodedTag]) -> Self {
        // The mean is subtracted first, because the part that all embeddings share would make every cosine large.
        let mean = mean(known.iter().map(|k| k.embedding.as_slice()));
        let nearest = known
            .iter()
            .map(|k| (k.tag.clone(), cosine(&k.embedding, &tag.embedding, &mean)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        Self::Tag { tag: tag.tag.clone(), known: known.len(), nearest }
    }

    /// Describes a tag with words that the model does not know; `None` if it knows all. `known` holds the words of the vocabulary.
    pub(super) fn with_words(tag: &str, divided: Vec<String>, known: &HashSet<String>) -> Option<Self> {
        // The plural of a known word is divided into the word and its ending.
        let is_known = |word: &String| {
            let mut forms =
                [Some(word.as_str()), word.strip_suffix('s'), word.strip_suffix("es")].into_iter().flatten();
            forms.any(|form| known.contains(form))
        };
        let words: Vec<String> = divided.into_iter().filter(|word| !is_known(word)).collect();
        (!words.is_empty()).then(|| Self::Words { tag: tag.to_owned(), words })
    }
}

/// Returns the words of some tags, in lower case.
pub(super) fn words_of<'a>(tags: impl Iterator<Item = &'a str>) -> HashSet<String> {
    let words = tags.flat_map(|tag| tag.split(|c: char| !c.is_alphanumeric()));
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// The element-wise mean of rows, which all have the same length.
fn mean<'a>(rows: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    let (mut sum, mut count) = (Vec::new(), 0.0_f32);
    for row in rows {
        sum.resize(row.len(), 0.0);
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        count += 1.0;
    }
    sum.into_iter().map(|s| s / count).collect()
}

/// The cosine of `a - about` and `b - about`; 0 if either difference is zero.
fn cosine(a: &[f32], b: &[f32], about: &[f32]) -> f32 {
    let (mut product, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for ((a, b), m) in a.iter().zip(b).zip(about) {
        let (a, b) = (a - m, b - m);
        (product, of_a, of_b) = (product + a * b, of_a + a * a, of_b + b * b);
    }
    product / (of_a * of_b).sqrt().max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::{UnknownTag, cosine};
    use crate::backend::DeviceChoice;
    use crate::bundle::{Bundle, BundleWriter};
    use crate::scorer::Scorer;

    fn shipped() -> Bundle {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/small");
        Bundle::open(&dir).unwrap()
    }

    fn unknown(scorer: &Scorer, tag: &str) -> Option<UnknownTag> {
        scorer.unknown_tag(&scorer.encode_tag(tag).unwrap()).unwrap()
    }

    #[test]
    fn words_that_the_shipped_model_knows_only_in_pieces_are_named() {
        let scorer = Scorer::open(shipped().dir(), DeviceChoice::Cpu).unwrap();
        for known in ["dog", "Sailing boats at sunset", "black-and-white", "a photo of a lighthouse", "a good photo"] {
            assert_eq!(unknown(&scorer, known), None, "{known}");
        }
        let text = unknown(&scorer, "dog xqzwv").unwrap().to_string();
        assert!(text.contains("xqzwv") && !text.contains("dog,"), "{text}");
    }

    #[test]
    fn a_plural_of_a_known_word_is_known_and_other_words_are_not() {
        let known = ["llama", "tench"].map(str::to_owned).into();
        let words =
            |words: &[&str]| UnknownTag::with_words("a tag", words.iter().map(|w| (*w).to_owned()).collect(), &known);
        assert_eq!(words(&["llama", "llamas", "tenches"]), None);
        let unknown = |word: &str| UnknownTag::Words { tag: "a tag".to_owned(), words: vec![word.to_owned()] };
        assert_eq!(words(&["llamas", "xqs"]), Some(unknown("xqs")));
        assert_eq!(words(&["llam", "llama"]), Some(unknown("llam")));
    }

    #[test]
    fn plurals_capitals_hyphens_and_framing_words_change_little() {
        let scorer = Scorer::open(shipped().dir(), DeviceChoice::Cpu).unwrap();
        let embed = |tag: &str| scorer.encode_tag(tag).unwrap().embedding;
        let zero = vec![0.0; embed("dog").len()];
        let near = |a: &str, b: &str| cosine(&embed(a), &embed(b), &zero);
        for (tag, others) in [
            ("dog", ["Dogs", "a photo of a dog", "DOG", "the dog"]),
            ("bird", ["birds", "Photo of birds", "a picture of a bird", "some birds"]),
            ("sailing boat", ["sailing boats", "Sailing-Boat", "a photograph of a sailing boat", "sailing-boats"]),
            ("black and white", ["black-and-white", "Black and White", "a black-and-white photo", "black & white"]),
            ("church", ["churches", "Church", "a photo of churches", "the churches"]),
        ] {
            for other in others {
                // Tags that mean something else are at 0.7 at most: "cat" is at 0.64 of "dog".
                assert!(near(tag, other) > 0.85, "{tag}, {other}: {}", near(tag, other));
            }
        }
        for (a, b) in [("dog", "cat"), ("bird", "church"), ("sailing boat", "black and white"), ("dog", "dock")] {
            assert!(near(a, b) < 0.7, "{a}, {b}: {}", near(a, b));
        }
    }

    #[test]
    fn the_length_of_a_text_embedding_tells_how_many_words_mean_something() {
        let scorer = Scorer::open(shipped().dir(), DeviceChoice::Cpu).unwrap();
        let length = |tag: &str| scorer.encode_tag(tag).unwrap().embedding.iter().map(|v| v * v).sum::<f32>().sqrt();
        for (tag, words) in
            [("dogs", 1.0), ("a photo of a bird", 1.0), ("leopard gecko", 2.0), ("a red car in the snow", 3.0)]
        {
            assert!((length(tag) * words - 1.0).abs() < 1e-3, "{tag}: {}", length(tag));
        }
        assert!(length("a photo") < 1e-3);
    }

    #[test]
    fn known_tags_are_found_in_any_case_and_unknown_ones_have_a_nearest_tag() {
        // The shipped model as if it knew its first tags alone.
        let shipped = shipped();
        let dir = tempfile::tempdir().unwrap();
        let mut writer = BundleWriter::create(&dir.path().join("small")).unwrap();
        let mut manifest = shipped.manifest().clone();
        manifest.open_vocabulary = false;
        manifest.tags.truncate(9);
        for name in manifest.files.keys().filter(|name| name.as_str() != crate::bundle::manifest::file::QUANTILES) {
            writer.add(name, &shipped.read(name).unwrap()).unwrap();
        }
        writer.finish(manifest, Bundle::open).unwrap();
        let scorer = Scorer::open(&dir.path().join("small"), DeviceChoice::Cpu).unwrap();
        let nearest_to = |unknown: &UnknownTag| match unknown {
            UnknownTag::Tag { known, nearest, .. } => (*known, nearest.clone().unwrap()),
            UnknownTag::Words { .. } => panic!("{unknown}"),
        };
        let trained = "black and white";
        assert_eq!(unknown(&scorer, &trained.to_uppercase()), None);
        let near = unknown(&scorer, &format!("{trained} castles")).unwrap();
        let (known, (nearest, similarity)) = nearest_to(&near);
        assert_eq!(known, scorer.manifest().tags.len());
        assert!(nearest == *trained && similarity > 0.5 && similarity < 1.0, "{near}");
        let far = unknown(&scorer, "qqq").unwrap();
        assert!(nearest_to(&far).1.1 < similarity);
        assert!(
            near.to_string().contains("does not know the tag")
                && near.to_string().contains("(cosine of the text embeddings 0."),
            "{near}"
        );
    }
}
