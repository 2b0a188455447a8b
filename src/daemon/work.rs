//! What travels between the stages.

use std::path::PathBuf;

use half::f16;

use serde::{Deserialize, Serialize};

use crate::identity::{ContentId, FileStamp};
use crate::store::{FileState, ImageId, Stage, StoredEmbedding, TagId, TagReason};
use edge_model::image_input::{ImageError, ImageErrorKind, Prepared};
use edge_model::scorer::{Device, Scored};

/// A version of a file that is to be decoded and scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) stamp: FileStamp,
}

/// A file after reading.
pub(super) enum Decoded {
    /// Its content is new, or its embedding is another encoder's.
    New(Box<NewPicture>),
    /// Its content is known, with an embedding of the current encoder.
    Known { candidate: Candidate, image_id: ImageId, keywords: Vec<String> },
}

/// A decoded picture on its way to the model.
pub(super) struct NewPicture {
    pub(super) candidate: Candidate,
    pub(super) content_id: ContentId,
    /// Its pixel values are empty once it has been embedded.
    pub(super) picture: Prepared,
}

/// Stored embeddings that lack the score of a tag.
pub(super) struct StoredWork {
    pub(super) tag: String,
    pub(super) tag_id: TagId,
    /// Set when the images do not have the tag yet.
    pub(super) reason: Option<TagReason>,
    pub(super) images: Vec<StoredEmbedding>,
}

/// A tag that an image is scored under.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TagResult {
    pub(super) text: String,
    pub(super) reason: TagReason,
    pub(super) confidence: Option<f32>,
    pub(super) scored: Scored,
}

/// What the writer records.
pub(super) enum Outcome {
    /// A new image with its embedding and scores.
    Scored { picture: Box<NewPicture>, embedding: Vec<f16>, tags: Vec<TagResult> },
    /// Another file of a known image.
    Linked { candidate: Candidate, image_id: ImageId, tags: Vec<TagResult> },
    /// A file that cannot be used.
    Failed { candidate: Candidate, failure: FileFailure },
    /// A file that is no longer what it was when it was queued: gone, or changed and therefore to be looked at again.
    Dropped { candidate: Candidate, again: bool },
    /// Scores from stored embeddings.
    Backfilled { tag_id: TagId, reason: Option<TagReason>, scores: Vec<(ImageId, Scored)> },
    /// Files whose presence has changed.
    Presence { paths: Vec<PathBuf>, state: FileState },
    /// Everything below a directory that is not there.
    Offline { root: PathBuf },
    /// The model works on another device from here on.
    Device(Device),
}

/// Why a file cannot be used, as it goes into the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileFailure {
    pub(super) stage: Stage,
    pub(super) error: String,
}

impl From<ImageError> for FileFailure {
    fn from(error: ImageError) -> Self {
        let stage = match error.kind() {
            ImageErrorKind::Unreadable => Stage::Read,
            ImageErrorKind::Undecodable => Stage::Decode,
            ImageErrorKind::TooLarge => Stage::Limit,
        };
        Self { stage, error: error.to_string() }
    }
}
