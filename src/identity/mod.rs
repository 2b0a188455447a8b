//! Identities of a version of a file ([`FileStamp`]) and of an image ([`ContentId`]). Threads, decoder processes and the database
//! exchange them. This module depends on no other module of the crate.

mod content_id;
mod file_stamp;

pub use content_id::ContentId;
pub use file_stamp::{FileStamp, RecordedStamp, is_absence};
