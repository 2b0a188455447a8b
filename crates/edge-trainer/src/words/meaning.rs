//! The words that a text side is made of: the vectors of all tokens, and those of ImageNet's classes.

use std::io::Write;
use std::path::Path;

use edge_model::bundle::sha256_hex;

use super::{TokenTable, WordError, WordNet, class_vectors, plain_tags};
use crate::message::Listener;

/// Raised when the vectors of the same files change.
const VERSION: u32 = 2;

/// The vectors of tokens and of classes.
#[derive(Debug, Clone)]
pub struct Meanings {
    /// The vector of every token.
    pub table: TokenTable,
    /// A vector of length 1 for each of ImageNet's classes, in the order of published classifiers.
    pub classes: Vec<Vec<f32>>,
    /// Plain tags for photographs, in alphabetical order.
    pub plain_tags: Vec<String>,
}

impl Meanings {
    /// Makes the vectors of length `dim` from a sentence encoder and WordNet's nouns. The encoder takes minutes to read all tokens, so its
    /// vectors are kept in `cache`.
    ///
    /// # Errors
    /// [`WordError`].
    pub fn make(
        encoder: &Path,
        nouns: &Path,
        dim: usize,
        cache: &Path,
        listener: &mut dyn Listener,
    ) -> Result<Self, WordError> {
        let weights = encoder.join("model.safetensors");
        let fail = |reason: String| WordError::File { path: weights.clone(), reason };
        let bytes = std::fs::read(&weights).map_err(|e| fail(format!("cannot be read: {e}")))?;
        let key = sha256_hex(format!("{VERSION}\n{dim}\n{}", sha256_hex(&bytes)).as_bytes());
        drop(bytes);
        let kept = cache.join(format!("tokens-{}", &key[..32]));
        let table = match TokenTable::read(encoder, dim, &kept)? {
            Some(table) => table,
            None => {
                let table = TokenTable::make(encoder, dim, listener)?;
                keep(&kept, table.vectors())
                    .map_err(|e| WordError::Cache { path: kept.clone(), reason: e.to_string() })?;
                table
            }
        };
        let nouns = WordNet::read(nouns)?;
        let table = table.with_plurals(&nouns.words());
        Ok(Self { classes: class_vectors(&table, &nouns)?, plain_tags: plain_tags(&nouns), table })
    }
}

/// Writes numbers to a file that appears when it is complete.
fn keep(path: &Path, numbers: &[f32]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
    file.write_all(&bytes)?;
    file.persist(path)?;
    Ok(())
}
