//! Chooses the tags of an image, each with its reason.

use std::path::Path;

use crate::config::TagSettings;
use crate::store::TagReason;
use edge_model::scorer::{EncodedTag, ImageEmbedding, Scorer, ScorerError};
use edge_model::text::normalise_tag;

/// Chooses tags for one configuration and one bundle.
pub(super) struct Tagger {
    settings: TagSettings,
    /// Encoded tags of the bundle's vocabulary. Empty if tags by similarity are disabled or the bundle does not suggest tags.
    vocabulary: Vec<EncodedTag>,
    default_tags: Vec<String>,
}

/// Returns an error if the model cannot encode one of the tags that every image gets. Call it before any image is scored.
pub(super) fn check_always(settings: &TagSettings, scorer: &Scorer) -> Result<(), ScorerError> {
    settings.always.iter().try_for_each(|tag| scorer.encode_tag(tag).map(drop))
}

/// A tag with the reason why the image has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChosenTag {
    pub(super) text: String,
    pub(super) reason: TagReason,
    pub(super) confidence: Option<f32>,
}

impl Tagger {
    /// Creates the tagger. Encodes the vocabulary if it is needed.
    pub(super) fn new(settings: &TagSettings, scorer: &Scorer) -> Self {
        let manifest = scorer.manifest();
        let wanted = settings.from_similarity > 0 && manifest.suggests_tags;
        let texts = manifest.tags.iter().filter(|_| wanted);
        let vocabulary = texts.filter_map(|t| scorer.encode_tag(&t.text).ok()).collect();
        Self { settings: settings.clone(), vocabulary, default_tags: manifest.default_tags.clone() }
    }

    /// Returns the tags that every image gets.
    pub(super) fn always(&self) -> &[String] {
        &self.settings.always
    }

    /// Returns all tags of an image, each once. A tag with several reasons gets the first of: configuration, keyword, directory,
    /// similarity. An image without tags gets the bundle's default tags.
    pub(super) fn choose(&self, path: &Path, keywords: &[String], embedding: &ImageEmbedding) -> Vec<ChosenTag> {
        let mut chosen: Vec<ChosenTag> = Vec::new();
        let mut add = |text: &str, reason, confidence| {
            let text = normalise_tag(text);
            if !text.is_empty() && !chosen.iter().any(|c| c.text.eq_ignore_ascii_case(&text)) {
                chosen.push(ChosenTag { text, reason, confidence });
            }
        };
        self.settings.always.iter().for_each(|tag| add(tag, TagReason::Manual, None));
        if self.settings.from_keywords {
            keywords.iter().for_each(|keyword| add(keyword, TagReason::Keyword, None));
        }
        if self.settings.from_directory
            && let Some(name) = path.parent().and_then(Path::file_name).and_then(|n| n.to_str())
        {
            add(name, TagReason::Directory, None);
        }
        for (tag, similarity) in self.most_similar(embedding) {
            add(tag, TagReason::Similarity, Some(similarity));
        }
        if chosen.is_empty() { self.defaults() } else { chosen }
    }

    /// Returns the bundle's default tags.
    pub(super) fn defaults(&self) -> Vec<ChosenTag> {
        let default = |text: &String| ChosenTag { text: text.clone(), reason: TagReason::Default, confidence: None };
        self.default_tags.iter().map(default).collect()
    }

    fn most_similar(&self, embedding: &ImageEmbedding) -> Vec<(&str, f32)> {
        let mut ranked: Vec<(&str, f32)> =
            self.vocabulary.iter().map(|tag| (tag.tag.as_str(), embedding.similarity(tag))).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(self.settings.from_similarity);
        ranked
    }
}
