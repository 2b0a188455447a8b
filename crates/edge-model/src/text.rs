//! Turns a tag into a prompt and the prompt into token ids, with the crate `tokenizers`. Runs no network.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::Tokenizer;

/// How a tag becomes `input_ids`, as stated in the bundle's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextRule {
    /// The prompt with `{tag}` in place of the tag, such as `a photo of {tag}`.
    pub template: String,
    /// Length T of `input_ids`, including special tokens. Shorter prompts are padded at the end.
    pub context_length: usize,
    /// The id of the padding.
    pub pad_id: i64,
    /// Whether the text encoder knows whole words only. A word that the tokenizer divides into several tokens then means nothing to it,
    /// unless it is a word of the bundle's tags.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_words: bool,
}

/// Why a tag cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The tokenizer's file is missing or damaged.
    #[error("{}: not a usable tokenizer: {reason}. Copy the bundle again from the original", path.display())]
    Tokenizer {
        /// Path of the tokenizer's file.
        path: PathBuf,
        /// The message of the tokenizer's reader.
        reason: String,
    },
    /// The manifest's text rule is invalid.
    #[error(
        "the rule that makes prompts from tags is not usable: {0}. To use a bundle, copy it again from the original. To train a \
         model, correct --template"
    )]
    Rule(String),
    /// The tag is empty or only white space.
    #[error("the tag is empty: give a short text such as \"birds\"")]
    Empty,
    /// The prompt has more tokens than the text encoder takes.
    #[error("the tag {tag:?} has {tokens} tokens and the model takes at most {limit}: shorten the tag")]
    TooLong {
        /// Text of the tag.
        tag: String,
        /// Number of tokens of the tag's prompt, including special tokens.
        tokens: usize,
        /// The context length: the most tokens that the text encoder takes.
        limit: usize,
    },
    /// The tokenizer returned an error for this tag.
    #[error("the tag {tag:?} cannot be divided into tokens: {reason}. Use another tag")]
    Encode {
        /// Text of the tag.
        tag: String,
        /// The tokenizer's message.
        reason: String,
    },
}

/// Returns a tag in the form that is stored and compared: without white space at the ends, and with single spaces inside.
pub fn normalise_tag(tag: &str) -> String {
    tag.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Largest factor by which a tokenizer's own rules may lengthen a text. Rules that multiply each other could otherwise make terabytes of a word.
const MAX_GROWTH: usize = 256;

/// The factor by which a normaliser in a tokenizer's file can lengthen a text, in bytes; at least 1.
fn growth(normalizer: &Value) -> usize {
    let added = |name: &str| normalizer[name].as_str().map_or(0, str::len);
    let own = added("content").max(added("prepend")).max(1);
    let inner = normalizer["normalizers"].as_array().into_iter().flatten().map(growth);
    inner.fold(own, usize::saturating_mul)
}

/// Turns tags into token ids under one rule.
#[derive(Debug, Clone)]
pub struct TagTokenizer {
    tokenizer: Tokenizer,
    rule: TextRule,
}

impl TagTokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] and [`TextError::Rule`].
    pub fn from_file(path: &Path, rule: TextRule) -> Result<Self, TextError> {
        let unreadable = |e: std::io::Error| TextError::Tokenizer { path: path.to_owned(), reason: e.to_string() };
        Self::from_bytes(path, &std::fs::read(path).map_err(unreadable)?, rule)
    }

    /// Parses the contents of the file at `path`, which is named in errors.
    ///
    /// # Errors
    /// The same as [`TagTokenizer::from_file`].
    pub fn from_bytes(path: &Path, bytes: &[u8], rule: TextRule) -> Result<Self, TextError> {
        let unusable = |reason| TextError::Tokenizer { path: path.to_owned(), reason };
        let json: Value = serde_json::from_slice(bytes).map_err(|e| unusable(e.to_string()))?;
        if growth(&json["normalizer"]) > MAX_GROWTH {
            return Err(unusable(format!("its normaliser can make a text more than {MAX_GROWTH} times as long")));
        }
        let tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| unusable(e.to_string()))?;
        Self::new(tokenizer, rule)
    }

    /// Wraps a tokenizer. Its own padding and truncation are switched off, because the rule states the length.
    ///
    /// # Errors
    /// [`TextError::Rule`] if the template does not contain `{tag}` or the context length is not within 1..=4096.
    pub fn new(mut tokenizer: Tokenizer, rule: TextRule) -> Result<Self, TextError> {
        if !rule.template.contains("{tag}") {
            return Err(TextError::Rule(format!("template {:?} does not contain {{tag}}", rule.template)));
        }
        if !(1..=4096).contains(&rule.context_length) {
            return Err(TextError::Rule(format!("context_length {} is not within 1..=4096", rule.context_length)));
        }
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| TextError::Rule(e.to_string()))?;
        Ok(Self { tokenizer, rule })
    }

    /// The rule that makes prompts from tags.
    pub fn rule(&self) -> &TextRule {
        &self.rule
    }

    /// Returns the words of a tag that the tokenizer divides into several tokens or does not know, in lower case; empty if the tag cannot be
    /// encoded.
    pub fn divided_words(&self, tag: &str) -> Vec<String> {
        let Ok(encoding) = self.tokenizer.encode(tag, false) else { return Vec::new() };
        let unknown = self.tokenizer.token_to_id("[UNK]");
        // For each word: its number, its place in the tag, and the number of its tokens; a token for unknown characters counts twice.
        let mut words: Vec<(u32, usize, usize, usize)> = Vec::new();
        let tokens = encoding.get_word_ids().iter().zip(encoding.get_offsets()).zip(encoding.get_ids());
        for ((word, (start, end)), id) in tokens {
            let Some(word) = *word else { continue };
            let count = if unknown == Some(*id) { 2 } else { 1 };
            match words.last_mut() {
                Some(last) if last.0 == word => (last.2, last.3) = (*end, last.3 + count),
                _ => words.push((word, *start, *end, count)),
            }
        }
        let divided = words.into_iter().filter(|(.., tokens)| *tokens > 1);
        let texts = divided.filter_map(|(_, start, end, _)| tag.get(start..end)).map(str::to_lowercase);
        texts.filter(|word| word.chars().any(char::is_alphanumeric)).collect()
    }

    /// Returns the tokenizer as the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// The message of the tokenizer's writer.
    pub fn to_json(&self) -> Result<String, String> {
        self.tokenizer.to_string(false).map_err(|e| e.to_string())
    }

    /// Returns the `context_length` token ids of a tag in the rule's template, or of `prompt` if the manifest gives the tag a prompt of
    /// its own.
    ///
    /// # Errors
    /// [`TextError::Empty`], [`TextError::TooLong`], [`TextError::Encode`].
    pub fn encode(&self, tag: &str, prompt: Option<&str>) -> Result<Vec<i64>, TextError> {
        let tag = normalise_tag(tag);
        if tag.is_empty() {
            return Err(TextError::Empty);
        }
        let text = prompt.map_or_else(|| self.rule.template.replace("{tag}", &tag), str::to_owned);
        let encoding = self
            .tokenizer
            .encode(text, true)
            .map_err(|e| TextError::Encode { tag: tag.clone(), reason: e.to_string() })?;
        let mut ids: Vec<i64> = encoding.get_ids().iter().map(|&id| i64::from(id)).collect();
        if ids.len() > self.rule.context_length {
            return Err(TextError::TooLong { tag, tokens: ids.len(), limit: self.rule.context_length });
        }
        ids.resize(self.rule.context_length, self.rule.pad_id);
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divided_words_are_those_of_several_tokens_or_of_unknown_characters() {
        let tokenizer: Tokenizer = r###"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {"[UNK]": 0, "close": 1, "-": 2, "up": 3, "dog": 4, "bo": 5, "##ke": 6, "##h": 7, ",": 8}}}"###
            .parse()
            .unwrap();
        let rule = TextRule { template: "{tag}".to_owned(), context_length: 9, pad_id: 0, whole_words: true };
        let tokenizer = TagTokenizer::new(tokenizer, rule).unwrap();
        // A hyphen divides words, and is none.
        assert_eq!(tokenizer.divided_words("Close-up, DOG"), Vec::<String>::new());
        assert_eq!(tokenizer.divided_words("Bokeh dog"), ["bokeh"]);
        assert_eq!(tokenizer.divided_words("dog zyx bokeh ..."), ["zyx", "bokeh"]);
    }
}
