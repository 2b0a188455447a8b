//! The values that identify a version of a file ([`FileStamp`]) and an image ([`ContentId`]). They cross threads, the pipe to the
//! decoder processes and the database, so this module lies below all others, beside [`crate::clock`].

mod content_id;
mod file_stamp;

pub use content_id::ContentId;
pub use file_stamp::{FileStamp, RecordedStamp, is_absence};
