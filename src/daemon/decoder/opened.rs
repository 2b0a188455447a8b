//! The identity of a file that was read and is not decoded yet.

use serde::{Deserialize, Serialize};

use crate::identity::{ContentId, FileStamp};

/// A file that was read completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon) struct Opened {
    /// Content id of the file.
    pub(in crate::daemon) content_id: ContentId,
    /// Stamp of the file after it was read.
    pub(in crate::daemon) stamp: FileStamp,
}
