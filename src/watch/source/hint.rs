//! The hints of a source, and the reasons for a rescan.

use std::fmt;
use std::path::PathBuf;

/// A message that something may have happened to a file or in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A file with an image's name was created, written, renamed into place or touched.
    Changed(PathBuf),
    /// A file, or a directory with everything in it, was deleted or renamed.
    Removed(PathBuf),
    /// Scan this directory: hints may have been lost, or the directory is polled.
    Rescan {
        /// The watched directory or a directory in it.
        dir: PathBuf,
        /// Why the directory is to be scanned.
        reason: RescanReason,
    },
}

/// Why a directory is to be scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RescanReason {
    /// The kernel's event queue overflowed.
    KernelOverflow,
    /// The channel of the hints was full.
    ChannelFull,
    /// The directory is new and may hold files that were written before it was watched.
    NewDirectory,
    /// The watched directory has appeared, disappeared or been replaced.
    RootChanged,
    /// The directory is polled, and the interval between two scans has passed.
    Periodic,
    /// inotify failed; the text gives the reason.
    Failed(String),
}

impl fmt::Display for RescanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KernelOverflow => f.write_str("the kernel's event queue overflowed (fs.inotify.max_queued_events)"),
            Self::ChannelFull => f.write_str("the daemon's queue of hints was full"),
            Self::NewDirectory => f.write_str("the directory is new"),
            Self::RootChanged => f.write_str("the watched directory appeared, disappeared or was replaced"),
            Self::Periodic => f.write_str("the directory is polled"),
            Self::Failed(why) => write!(f, "inotify failed: {why}"),
        }
    }
}
