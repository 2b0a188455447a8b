//! Reads the nouns of WordNet (G. A. Miller, "WordNet: a lexical database for English", Communications of the ACM 38, 1995).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::WordError;

/// A set of synonyms: one meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synset {
    /// The words, the most common first; several words of one name are divided by spaces.
    pub words: Vec<String>,
    /// The offsets of the more general synsets directly above it.
    pub hypernyms: Vec<u32>,
}

/// All noun synsets by their offset in the file. The offset is the number in ImageNet's name of the synset: `n01440764` is 1440764.
#[derive(Debug, Clone)]
pub struct WordNet {
    /// Path of the file, for errors.
    pub(super) path: PathBuf,
    synsets: HashMap<u32, Synset>,
}

impl WordNet {
    /// Reads `data.noun` of WordNet 3.0 (format: wndb(5WN)).
    ///
    /// # Errors
    /// [`WordError::File`].
    pub fn read(path: &Path) -> Result<Self, WordError> {
        let fail = |reason: String| WordError::File { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
        let mut synsets = HashMap::new();
        // The file is in Latin-1; its words are in ASCII. Lines of the licence begin with two spaces.
        for (number, line) in bytes.split(|&b| b == b'\n').enumerate() {
            if line.is_empty() || line.starts_with(b"  ") {
                continue;
            }
            let data = line.split(|&b| b == b'|').next().unwrap_or_default();
            let (offset, synset) = std::str::from_utf8(data)
                .ok()
                .and_then(synset)
                .ok_or_else(|| fail(format!("line {} is not a synset of WordNet 3.0", number + 1)))?;
            synsets.insert(offset, synset);
        }
        if synsets.is_empty() {
            Err(fail("it holds no synsets".to_owned()))
        } else {
            Ok(Self { path: path.to_owned(), synsets })
        }
    }

    /// Returns the synset at this offset.
    pub fn synset(&self, offset: u32) -> Option<&Synset> {
        self.synsets.get(&offset)
    }

    /// Returns all words of all synsets, in lower case.
    pub fn words(&self) -> HashSet<String> {
        self.synsets.values().flat_map(|synset| &synset.words).map(|word| word.to_lowercase()).collect()
    }

    /// Returns the synset at `offset` and those above it, each one's first hypernym next. Ends at the most general one.
    pub fn chain(&self, offset: u32) -> Vec<&Synset> {
        let mut chain: Vec<&Synset> = Vec::new();
        let mut next = Some(offset);
        while let Some(synset) = next.and_then(|offset| self.synsets.get(&offset)) {
            // WordNet has no cycles, but a damaged file may.
            if chain.len() > self.synsets.len() {
                break;
            }
            chain.push(synset);
            next = synset.hypernyms.first().copied();
        }
        chain
    }
}

/// Parses the part of a line before its gloss: offset, file, kind, number of words in hexadecimal, words with their sense numbers, number
/// of pointers, and for each pointer its symbol, offset, kind and the words that it connects.
fn synset(data: &str) -> Option<(u32, Synset)> {
    let mut fields = data.split_ascii_whitespace();
    let offset = fields.next()?.parse().ok()?;
    let count = usize::from_str_radix(fields.nth(2)?, 16).ok()?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        words.push(fields.next()?.replace('_', " "));
        fields.next()?;
    }
    let pointers: usize = fields.next()?.parse().ok()?;
    let mut hypernyms = Vec::new();
    for _ in 0..pointers {
        let [symbol, target, kind, _] = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
        // `@` is a hypernym, `@i` the class of a named instance.
        if matches!(symbol, "@" | "@i") && kind == "n" {
            hypernyms.push(target.parse().ok()?);
        }
    }
    Some((offset, Synset { words, hypernyms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines in WordNet's format: a licence line, then four synsets. The last one is a named instance of two synsets.
    const NOUNS: &str = "  1 This is a licence line.  \n\
        00000010 03 n 01 animal 0 000 | a gloss with a bar | in it\n\
        00000020 03 n 02 bird 0 fowl 1 001 @ 00000010 n 0000 | feathers\n\
        00000030 03 n 0a sea_bird 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 002 ~ 00000020 n 0000 @ 00000020 n 0000 | \u{e9}\n\
        00000040 18 n 01 Jonathan 0 002 @i 00000030 n 0000 @i 00000020 n 0000 | a gull\n";

    fn read(text: &str) -> Result<WordNet, WordError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.noun");
        // Latin-1, as in the real file: the gloss of the third synset is not UTF-8.
        std::fs::write(&path, text.chars().map(|c| c as u8).collect::<Vec<_>>()).unwrap();
        WordNet::read(&path)
    }

    #[test]
    fn synsets_have_their_words_and_a_chain_to_the_most_general_one() {
        let nouns = read(NOUNS).unwrap();
        assert_eq!(nouns.synset(30).unwrap().words[0], "sea bird");
        assert_eq!(nouns.synset(30).unwrap().words.len(), 10, "the number of words is hexadecimal");
        assert_eq!(nouns.synset(40).unwrap().hypernyms, [30, 20]);
        let words: Vec<&str> = nouns.chain(40).iter().map(|s| s.words[0].as_str()).collect();
        assert_eq!(words, ["Jonathan", "sea bird", "bird", "animal"]);
        assert!(nouns.chain(99).is_empty());
    }

    #[test]
    fn damage_is_named_with_its_line_and_a_cycle_ends() {
        for damage in ["00000020 03 n 02 bird 0", "00000020 03 n zz bird 0 000", "bird"] {
            let message =
                read(&NOUNS.replace("00000020 03 n 02 bird 0 fowl 1 001 @ 00000010 n 0000", damage)).unwrap_err();
            assert!(message.to_string().contains("line 3 is not a synset"), "{message}");
        }
        assert!(read("  only a licence\n").unwrap_err().to_string().contains("it holds no synsets"));
        let cycle = NOUNS.replace("animal 0 000", "animal 0 001 @ 00000020 n 0000");
        assert!(read(&cycle).unwrap().chain(40).len() <= 5);
    }
}
