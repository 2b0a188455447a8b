//! Gives the words of tags and the classes of ImageNet vectors in one space. A published sentence encoder gives the vectors of the words.
//! WordNet gives the words of each class. An image whose classes are known can be compared with any tag (ConSE: Norouzi et al.,
//! "Zero-shot learning by convex combination of semantic embeddings", 2014).

mod class_vectors;
mod meaning;
mod plurals;
mod token_table;
mod vocabulary;
mod wordnet;

use std::path::PathBuf;

use crate::model::clip::ConfigError;
use crate::weights::WeightError;

pub use class_vectors::{IMAGENET_CLASSES, TOO_GENERAL, class_vectors, imagenet_classes};
pub use meaning::Meanings;
pub use token_table::TokenTable;
pub use vocabulary::plain_tags;
pub use wordnet::{Synset, WordNet};

/// Reason why the meanings of words cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum WordError {
    /// The sentence encoder's configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The sentence encoder's weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The vectors of the tokens cannot be kept.
    #[error("{}: the vectors of the words cannot be kept: {reason}. Make the directory writable, or name another one by --cache", path.display())]
    Cache {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system.
        reason: String,
    },
    /// Another file cannot be used.
    #[error("{}: {reason}. Run `scripts/fetch_backbones` to fetch it again", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Why it cannot be read, or what is wrong in it.
        reason: String,
    },
}
