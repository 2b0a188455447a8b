//! Tags to prompts to token ids. The only module that knows the `tokenizers` crate's encoder; it never runs a network.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

/// The way from a tag to `input_ids`, as the bundle's manifest states it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextRule {
    /// The prompt, with `{tag}` where the tag goes, such as `a photo of {tag}`.
    pub template: String,
    /// Length T of `input_ids`, special tokens included; shorter prompts are padded at the end.
    pub context_length: usize,
    /// The id that fills a prompt up to `context_length`.
    pub pad_id: i64,
}

/// Why a tag has no token ids.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The tokenizer's file cannot be used.
    #[error("{}: not a usable tokenizer: {reason}. Restore the bundle from where it came from", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the tokenizer's reader said.
        reason: String,
    },
    /// The rule cannot be followed.
    #[error("text_input of the manifest is unusable: {0}")]
    Rule(String),
    /// The tag holds nothing but white space.
    #[error("the tag is empty: give a short text such as \"birds\"")]
    Empty,
    /// The tag does not fit the encoder.
    #[error("the tag {tag:?} is {tokens} tokens long and the model takes {limit}: shorten it")]
    TooLong {
        /// The tag.
        tag: String,
        /// Its length with the special tokens.
        tokens: usize,
        /// The context length.
        limit: usize,
    },
    /// The tokenizer failed on this text.
    #[error("the tag {tag:?} cannot be tokenised: {reason}")]
    Encode {
        /// The tag.
        tag: String,
        /// What the tokenizer said.
        reason: String,
    },
}

/// A tag as it is stored and compared: white space at the ends removed and folded to single spaces inside.
pub fn normalise_tag(tag: &str) -> String {
    tag.split_whitespace().collect::<Vec<_>>().join(" ")
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
        let tokenizer = Tokenizer::from_file(path)
            .map_err(|e| TextError::Tokenizer { path: path.to_owned(), reason: e.to_string() })?;
        Self::new(tokenizer, rule)
    }

    /// Wraps a tokenizer that is at hand. Its own padding and truncation are switched off: the rule decides.
    ///
    /// # Errors
    /// [`TextError::Rule`] when the template lacks `{tag}` or the context length is out of 1..=4096.
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

    /// The rule in force.
    pub fn rule(&self) -> &TextRule {
        &self.rule
    }

    /// Token ids of the tag in the manifest's template, or of `prompt` where the manifest gives the tag its own;
    /// `context_length` of them.
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
