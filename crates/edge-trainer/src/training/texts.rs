//! Texts that are encoded again and again by weights that stay the same.

use std::collections::HashMap;

use burn::tensor::backend::Backend;

use crate::TrainError;
use crate::model::{TagScorer, TextOutput};
use edge_model::text::TagTokenizer;

/// Texts that are remembered at most: with its token states each takes up to two hundred kilobytes.
const REMEMBERED: usize = 2048;

/// What one text encoder made of the texts so far, each a batch of one, so that its neighbours do not change a value.
#[derive(Debug)]
pub(super) struct TextMemory<B: Backend>(HashMap<String, TextOutput<B>>);

impl<B: Backend> Default for TextMemory<B> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<B: Backend> TextMemory<B> {
    /// The texts' encodings in their order; `model` is asked for those that are not remembered.
    ///
    /// # Errors
    /// [`TrainError::Text`].
    pub(super) fn encode<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t str>,
        tokenizer: &TagTokenizer,
        device: &B::Device,
        model: impl Fn() -> TagScorer<B>,
    ) -> Result<TextOutput<B>, TrainError> {
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
