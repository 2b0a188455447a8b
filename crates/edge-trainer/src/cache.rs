//! Stores the features of a frozen image encoder on disk, one file per image. A resumed training and trainings of
//! other heads reuse the files.

use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use half::f16;

use crate::device::Host;
use crate::file_error::FileError;
use crate::model::ImageOutput;
use edge_model::bundle::sha256_hex;
use edge_model::image_input::InputRule;

/// Error of reading or writing features.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// A file cannot be read or written, or has the wrong length.
    #[error(transparent)]
    File(#[from] FileError),
    /// A defect of the program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

/// The feature files of one encoder under one input rule. Values are 16-bit floats, like the embeddings that the scorer
/// stores.
#[derive(Debug, Clone)]
pub struct FeatureCache {
    dir: PathBuf,
    embedding: usize,
    /// Number and width of the patch tokens; zeros if the head reads no patches.
    patches: [usize; 2],
}

impl FeatureCache {
    /// Opens the directory of the feature files below `root`. The directory's name is a hash of the encoder's digest,
    /// the input rule, the length of the embedding, and the number and width of the patch tokens.
    ///
    /// # Errors
    /// [`FeatureError::File`].
    pub fn open(
        root: &Path,
        backbone_digest: &str,
        rule: &InputRule,
        embedding: usize,
        patches: [usize; 2],
    ) -> Result<Self, FeatureError> {
        let rule = serde_json::to_string(rule).map_err(|e| FeatureError::Internal(e.to_string()))?;
        let key = sha256_hex(format!("{backbone_digest}\n{rule}\n{embedding}\n{patches:?}").as_bytes());
        let dir = root.join(&key[..32]);
        std::fs::create_dir_all(&dir).map_err(FileError::at(&dir))?;
        Ok(Self { dir, embedding, patches })
    }

    /// Returns the size of each file in bytes.
    pub fn entry_bytes(&self) -> usize {
        2 * (self.embedding + self.patches[0] * self.patches[1])
    }

    /// Returns whether patch tokens are stored beside the embedding.
    pub fn keeps_patches(&self) -> bool {
        self.patches[0] > 0
    }

    /// Returns the directory of the files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns whether the features of an image are stored completely.
    pub fn has(&self, content_id: &str) -> bool {
        std::fs::metadata(self.path(content_id)).is_ok_and(|m| m.len() == self.entry_bytes() as u64)
    }

    /// Stores the features of an image. The file appears when it is complete.
    ///
    /// # Errors
    /// [`FeatureError`].
    pub fn put(&self, content_id: &str, embedding: &[f32], patches: &[f32]) -> Result<(), FeatureError> {
        let bytes: Vec<u8> = embedding.iter().chain(patches).flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let path = self.path(content_id);
        if bytes.len() != self.entry_bytes() {
            let reason = format!("{} bytes of features instead of {}", bytes.len(), self.entry_bytes());
            return Err(FeatureError::Internal(reason));
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).map_err(FileError::at(&self.dir))?;
        std::io::Write::write_all(&mut file, &bytes).map_err(FileError::at(&path))?;
        file.persist(&path).map_err(FileError::at(&path))?;
        Ok(())
    }

    /// Reads the features of an image as a batch of one.
    ///
    /// # Errors
    /// [`FeatureError::File`], also if the file has the wrong length.
    pub fn get(&self, content_id: &str) -> Result<ImageOutput<Host>, FeatureError> {
        let path = self.path(content_id);
        let bytes = std::fs::read(&path).map_err(FileError::at(&path))?;
        if bytes.len() != self.entry_bytes() {
            let (found, expected) = (bytes.len(), self.entry_bytes());
            let reason = format!(
                "the stored features have {found} bytes instead of {expected}. Run the command again to compute \
                 them anew"
            );
            return Err(FileError { path, reason }.into());
        }
        let values: Vec<f32> = bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        let device = Default::default();
        let (embedding, patches) = values.split_at(self.embedding);
        let [p, w] = self.patches;
        Ok(ImageOutput {
            embedding: Tensor::from_data(TensorData::new(embedding.to_vec(), [1, self.embedding]), &device),
            patches: (p > 0).then(|| Tensor::from_data(TensorData::new(patches.to_vec(), [1, p, w]), &device)),
        })
    }

    fn path(&self, content_id: &str) -> PathBuf {
        self.dir.join(content_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::values;
    use edge_model::image_input::ResizeFilter;

    #[test]
    fn features_survive_and_other_encoders_do_not_find_them() {
        let dir = tempfile::tempdir().unwrap();
        let rule = InputRule {
            size_px: 24,
            resize_short_px: 24,
            filter: ResizeFilter::Bicubic,
            mean: [0.5; 3],
            views: Vec::new(),
            std: [0.25; 3],
        };
        let cache = FeatureCache::open(dir.path(), "a", &rule, 2, [2, 1]).unwrap();
        assert!(!cache.has("x"));
        cache.put("x", &[1.0, -2.0], &[0.5, 0.25]).unwrap();
        assert!(cache.has("x"));
        let read = cache.get("x").unwrap();
        assert_eq!(values(read.embedding), [1.0, -2.0]);
        assert_eq!(values(read.patches.unwrap()), [0.5, 0.25]);
        for (digest, size_px, patches) in [("b", 24, [2, 1]), ("a", 32, [2, 1]), ("a", 24, [0, 0])] {
            let rule = InputRule { size_px, ..rule.clone() };
            assert!(!FeatureCache::open(dir.path(), digest, &rule, 2, patches).unwrap().has("x"));
        }
        std::fs::write(cache.dir().join("x"), b"cut").unwrap();
        assert!(!cache.has("x"));
        assert!(cache.get("x").unwrap_err().to_string().contains("have 3 bytes instead of 8"));
        assert!(cache.put("x", &[1.0], &[]).is_err());
    }
}
