//! The singular of English nouns, by the rules of WordNet's `morphy` (morphy(7WN)) and the irregular plurals of common nouns.

/// Plurals that follow no rule, of nouns that photographs show.
const IRREGULAR: [(&str, &str); 24] = [
    ("children", "child"),
    ("grandchildren", "grandchild"),
    ("mice", "mouse"),
    ("geese", "goose"),
    ("feet", "foot"),
    ("teeth", "tooth"),
    ("oxen", "ox"),
    ("wolves", "wolf"),
    ("leaves", "leaf"),
    ("calves", "calf"),
    ("halves", "half"),
    ("hooves", "hoof"),
    ("loaves", "loaf"),
    ("shelves", "shelf"),
    ("thieves", "thief"),
    ("scarves", "scarf"),
    ("elves", "elf"),
    ("knives", "knife"),
    ("wives", "wife"),
    ("lives", "life"),
    ("cacti", "cactus"),
    ("fungi", "fungus"),
    ("larvae", "larva"),
    ("bacteria", "bacterium"),
];
/// Endings of plurals and of their singulars, the longest first.
const ENDINGS: [(&str, &str); 8] =
    [("shes", "sh"), ("ches", "ch"), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("men", "man"), ("ies", "y"), ("s", "")];
/// Shortest word that can be a plural.
const SHORTEST: usize = 3;

/// Returns the singular of a lower-case word; `None` if the word is itself a noun, such as "glasses", or no plural of one.
pub fn singular(word: &str, is_noun: impl Fn(&str) -> bool) -> Option<String> {
    if let Some((_, one)) = IRREGULAR.iter().find(|(many, _)| *many == word) {
        return Some((*one).to_owned());
    }
    if word.len() < SHORTEST || word.ends_with("ss") || is_noun(word) {
        return None;
    }
    let endings = ENDINGS.iter().filter_map(|(many, one)| Some(format!("{}{one}", word.strip_suffix(many)?)));
    endings.into_iter().find(|one| is_noun(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_have_a_singular_and_other_words_none() {
        let nouns = ["dog", "church", "city", "bus", "box", "glasses", "glass", "fireman", "bass", "knife", "as"];
        let of = |word: &str| singular(word, |noun| nouns.contains(&noun));
        for (many, one) in [
            ("dogs", "dog"),
            ("churches", "church"),
            ("cities", "city"),
            ("buses", "bus"),
            ("boxes", "box"),
            ("firemen", "fireman"),
            ("knives", "knife"),
            ("children", "child"),
        ] {
            assert_eq!(of(many).as_deref(), Some(one), "{many}");
        }
        for word in ["glasses", "dog", "bass", "is", "quickly", "bus"] {
            assert_eq!(of(word), None, "{word}");
        }
    }
}
