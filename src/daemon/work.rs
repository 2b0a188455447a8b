//! The messages between the driver and the threads of the pipeline.

use std::path::PathBuf;

use half::f16;

use crate::decoder::FileFailure;
use crate::identity::{ContentId, FileStamp};
use crate::store::{FileState, ImageId, StoredEmbedding, TagId, TagReason};
use edge_model::image_input::Prepared;
use edge_model::scorer::{Device, Scored};

/// A version of a file that is to be decoded and scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) stamp: FileStamp,
}

/// A file that has been read.
pub(super) enum Decoded {
    /// New content, content whose embedding is from another encoder, or any content if the model's head needs image features.
    New(Box<NewPicture>),
    /// Known content with a stored embedding of the current encoder.
    Known { candidate: Candidate, image_id: ImageId, keywords: Vec<String> },
}

/// A decoded picture with its file and content id.
pub(super) struct NewPicture {
    pub(super) candidate: Candidate,
    pub(super) content_id: ContentId,
    /// The prepared picture. Its pixels are removed after the picture has been embedded.
    pub(super) picture: Prepared,
}

/// Stored embeddings of images that lack the score of one tag.
pub(super) struct StoredWork {
    pub(super) tag: String,
    pub(super) tag_id: TagId,
    /// Why the images get the tag; `None` if they already have it.
    pub(super) reason: Option<TagReason>,
    pub(super) images: Vec<StoredEmbedding>,
}

/// A tag of an image with its score.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TagResult {
    pub(super) text: String,
    pub(super) reason: TagReason,
    pub(super) confidence: Option<f32>,
    pub(super) scored: Scored,
}

/// A result that the writer records.
pub(super) enum Outcome {
    /// A new image with its embedding and scores.
    Scored { picture: Box<NewPicture>, embedding: Vec<f16>, tags: Vec<TagResult> },
    /// Another file of a known image.
    Linked { candidate: Candidate, image_id: ImageId, tags: Vec<TagResult> },
    /// A file that could not be scored.
    Failed { candidate: Candidate, failure: FileFailure },
    /// A file that was not scored and did not fail: it is gone or has changed. With `again` the driver looks at it again.
    Dropped { candidate: Candidate, again: bool },
    /// Scores from stored embeddings.
    Backfilled { tag_id: TagId, reason: Option<TagReason>, scores: Vec<(ImageId, Scored)> },
    /// Files whose presence has changed.
    Presence { paths: Vec<PathBuf>, state: FileState },
    /// A watched directory that is gone, unreadable or empty, so that the files below it are offline.
    Offline { root: PathBuf },
    /// The model has switched to another device.
    Device(Device),
}
