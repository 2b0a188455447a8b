//! Finds the files to score. A [`Source`] hints at changes, a [`scan()`] lists the images of a directory, and the
//! [`Settler`] decides when a file has been written completely. A [`Tree`] opens files. Only this module uses notify and walkdir.
//!
//! Hints may be late, duplicate or missing. Every lost hint causes a [`Hint::Rescan`]; the scan and the database are
//! authoritative. This module never reads a file's content and does not depend on the database or the daemon.

mod names;
mod scan;
mod settle;
mod source;
mod tree;

pub use scan::{Found, RootState, Scan, ScanError, count, root_state, scan};
pub use settle::{Observed, Settled, Settler, Sighting};
pub use source::{
    Hint, RescanReason, Source, SourceChoice, SourceKind, SourceOptions, SourceStatus, StatusHandle, WatchError,
    count_directories, inotify_limit, shared_file_system, why_poll,
};
pub use tree::{Tree, Trees};
