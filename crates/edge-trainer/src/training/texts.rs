//! A cache of encoded texts, for a text encoder whose weights do not change.

use std::collections::HashMap;

use burn::tensor::backend::Backend;
use edge_model::text::TagTokenizer;

use super::error::LearnError;
use crate::model::{TagScorer, TextOutput};

/// Most texts in the cache. A text takes up to 200 kB with its token states.
const REMEMBERED: usize = 2048;

/// The encoded texts of one text encoder. Each was encoded as a batch of one, so that its values do not depend on its
/// neighbours.
#[derive(Debug)]
pub(super) struct TextMemory<B: Backend>(HashMap<String, TextOutput<B>>);

impl<B: Backend> Default for TextMemory<B> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<B: Backend> TextMemory<B> {
    /// Returns the encoded texts in order, and encodes those that are not in the cache with `model`.
    ///
    /// # Errors
    /// [`LearnError::Text`].
    pub(super) fn encode<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t str>,
        tokenizer: &TagTokenizer,
        device: &B::Device,
        model: impl Fn() -> TagScorer<B>,
    ) -> Result<TextOutput<B>, LearnError> {
        if self.0.len() > REMEMBERED {
            self.0.clear();
        }
        let mut encodings = Vec::new();
        for text in texts {
            let encoding = match self.0.get(text) {
                Some(known) => known.clone(),
                None => {
                    let new = model().embed_texts(&[tokenizer.encode(text, None)?], device);
                    self.0.insert(text.to_owned(), new.clone());
                    new
                }
            };
            encodings.push(encoding);
        }
        Ok(TextOutput::cat(encodings))
    }
}
