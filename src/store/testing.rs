//! A database in a temporary directory with helpers to fill it, for the tests of this module.

use std::ffi::OsStr;
use std::ops::{Deref, DerefMut};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use half::f16;
use jiff::Timestamp;

use crate::identity::{ContentId, RecordedStamp};

use super::{ImageId, ModelId, NewEmbedding, NewImage, NewModel, NewScore, Store};

/// An arbitrary time: 2026-01-02T03:04:05Z.
pub const NOW: Timestamp = Timestamp::constant(1_767_323_045, 0);

/// Encoder digest of every test image.
pub const ENCODER: &str = "encoder";

/// Returns the stamp of one version of a file.
pub fn stamp(size_bytes: u64, mtime_ns: i64) -> RecordedStamp {
    RecordedStamp { size_bytes, mtime_ns }
}

/// Returns a path with these bytes, which may be invalid UTF-8.
pub fn raw_path(bytes: &[u8]) -> PathBuf {
    OsStr::from_bytes(bytes).into()
}

/// Returns an image with the content `content`.
pub fn new_image<'a>(content: &str, embedding: &'a [f16]) -> NewImage<'a> {
    NewImage {
        content_id: ContentId::of(content.as_bytes()),
        size_bytes: 100,
        format: "jpeg",
        width_px: 40,
        height_px: 30,
        captured_at: None,
        embedding: Some(NewEmbedding { values: embedding, encoder_digest: ENCODER }),
        brightness: Some(0.5),
        contrast: None,
        sharpness: None,
    }
}

/// A store in a temporary directory that is deleted on drop.
pub struct TempStore {
    store: Store,
    _dir: tempfile::TempDir,
}

impl TempStore {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { store: Store::open(&dir.path().join("scores.db")).unwrap(), _dir: dir }
    }

    /// Records an image and the files that show it, each with `stamp(100, 1)`.
    pub fn add_image(&mut self, content: &str, paths: &[&str]) -> ImageId {
        let batch = self.begin().unwrap();
        let image_id = batch.record_image(&new_image(content, &[f16::ONE]), NOW).unwrap();
        for path in paths {
            batch.record_file(Path::new(path), image_id, stamp(100, 1), NOW).unwrap();
        }
        batch.commit().unwrap();
        image_id
    }

    /// Makes the model with this name the current one.
    pub fn use_model(&mut self, name: &str) -> ModelId {
        let digest = format!("digest of {name}");
        let model = NewModel {
            digest: &digest,
            name,
            manifest: "{}",
            encoder_digest: ENCODER,
            device: "cpu",
            precision: "f32",
            device_reason: "no GPU",
        };
        self.register_model(&model, NOW).unwrap()
    }

    /// Records a score of an image under a tag by a model.
    pub fn score(&mut self, image_id: ImageId, tag: &str, model_id: ModelId, score: f32) {
        let batch = self.begin().unwrap();
        let tag_id = batch.tag_id(tag).unwrap();
        let score = NewScore { score, similarity: Some(0.25), percentile: None };
        batch.record_score(image_id, tag_id, model_id, &score, NOW).unwrap();
        batch.commit().unwrap();
    }
}

impl Deref for TempStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl DerefMut for TempStore {
    fn deref_mut(&mut self) -> &mut Store {
        &mut self.store
    }
}
