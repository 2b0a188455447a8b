//! Which files there are to score: a [`Source`] hints at changes, a [`scan()`] finds what is there, and the
//! [`Settler`] decides when a file has been written completely. The one owner of notify and walkdir.
//!
//! Hints may be late, doubled or missing, and every loss ends in a [`Hint::Rescan`]: the scan and the database are the truth.
//! This module opens no file's content and never knows the database or the daemon.

mod names;
mod scan;
mod settle;
mod source;

pub use names::is_candidate;
pub use scan::{Found, RootState, Scan, ScanError, count, root_state, scan};
pub use settle::{Observed, Settled, Settler, Sighting};
pub use source::{
    Hint, RescanReason, Source, SourceChoice, SourceKind, SourceOptions, SourceStatus, StatusHandle, WatchError,
    count_directories, inotify_limit, shared_file_system, why_poll,
};
