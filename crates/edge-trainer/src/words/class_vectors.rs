//! A vector for each of ImageNet's 1,000 classes in the space of the token table.

use super::token_table::normalise;
use super::{TokenTable, WordError, WordNet};

/// Number of classes of the ImageNet challenge (Russakovsky et al., "ImageNet large scale visual recognition challenge", 2015).
pub const IMAGENET_CLASSES: usize = 1000;
/// WordNet's offset of each class, in the order of published classifiers.
const OFFSETS: &str = include_str!("imagenet_classes.txt");
/// Factor from the weight of a synset to that of the synset above it.
const DECAY: f32 = 0.6;
/// Number of words of a synset that count: the common ones come first.
const WORDS: usize = 2;
/// Words so general that they say nothing about a picture.
pub const TOO_GENERAL: [&str; 13] = [
    "entity",
    "physical entity",
    "abstraction",
    "abstract entity",
    "object",
    "whole",
    "thing",
    "living thing",
    "organism",
    "artifact",
    "unit",
    "matter",
    "causal agent",
];

/// Returns WordNet's offset of each class, in the order of published classifiers.
pub fn imagenet_classes() -> Vec<u32> {
    OFFSETS.split_ascii_whitespace().filter_map(|offset| offset.parse().ok()).collect()
}

/// Returns a vector of length 1 for each class: the mean of the vectors of its words and, ever lighter, of those of its hypernyms.
///
/// # Errors
/// [`WordError::File`] if a class is not in `nouns`.
pub fn class_vectors(table: &TokenTable, nouns: &WordNet) -> Result<Vec<Vec<f32>>, WordError> {
    imagenet_classes().into_iter().map(|offset| class_vector(table, nouns, offset)).collect()
}

fn class_vector(table: &TokenTable, nouns: &WordNet, offset: u32) -> Result<Vec<f32>, WordError> {
    let chain = nouns.chain(offset);
    if chain.is_empty() {
        let reason = format!("it lacks the synset {offset:08} of an ImageNet class");
        return Err(WordError::File { path: nouns.path.clone(), reason });
    }
    let (mut sum, mut weight) = (vec![0.0f32; table.dim()], 1.0);
    for synset in chain {
        let words: Vec<&String> =
            synset.words.iter().take(WORDS).filter(|word| !TOO_GENERAL.contains(&word.as_str())).collect();
        for word in &words {
            let vector = table.embed(word)?;
            sum.iter_mut().zip(vector).for_each(|(sum, v)| *sum += weight * v / words.len() as f32);
        }
        if !words.is_empty() {
            weight *= DECAY;
        }
    }
    normalise(&mut sum);
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use edge_testing::skip;

    use super::*;

    #[test]
    fn there_are_1000_classes_in_wordnets_order() {
        let classes = imagenet_classes();
        assert_eq!(classes.len(), IMAGENET_CLASSES);
        assert!(classes.is_sorted() && classes[0] == 1_440_764 && classes[999] == 15_075_141);
    }

    /// Compares the cosines of words and of classes with those that the same method has in PyTorch, without rounding.
    #[test]
    fn words_and_classes_are_as_near_to_each_other_as_in_pytorch() {
        let Some(dir) = std::env::var_os("EDGE_SCORER_WORDS_REFERENCE").map(PathBuf::from) else {
            return skip("words::near", "scripts/check_backbone words makes the reference and passes it to this test");
        };
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        let backbones = PathBuf::from(std::env::var_os("EDGE_SCORER_BACKBONES").unwrap());
        let table = TokenTable::make(&backbones.join("minilm"), 256, &mut |_| {}).unwrap();
        let nouns = WordNet::read(&backbones.join("wordnet/data.noun")).unwrap();
        let classes = class_vectors(&table, &nouns).unwrap();
        let texts: Vec<String> = read("texts").lines().map(str::to_owned).collect();
        let vectors: Vec<Vec<f32>> = texts.iter().map(|text| table.embed(text).unwrap()).collect();
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let mut worst = 0.0f32;
        for (line, vector) in read("cosines").lines().zip(&vectors) {
            let found = vectors.iter().chain(&classes).map(|other| cosine(vector, other));
            for (expected, found) in line.split(' ').map(|v| v.parse::<f32>().unwrap()).zip(found) {
                worst = worst.max((expected - found).abs());
            }
        }
        eprintln!("{} texts and {} classes: cosines differ by at most {worst:.4}", texts.len(), classes.len());
        assert!(worst < 0.01, "{worst}");
    }
}
