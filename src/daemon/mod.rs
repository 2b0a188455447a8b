//! From a file that appeared to a committed score: threads, channels and their order.
//!
//! ```text
//! intake (events, scans) ─> candidates ─> decode (N threads) ─> decoded ─> infer (1) ─> outcomes ─> writer (1)
//!                                                 backfill (1) ─> stored ─┘
//! ```
//!
//! Every channel is bounded, so a slow stage holds back the one before it and memory stays flat. The database and the
//! directories are the truth: an image counts as done when its commit is through, and whatever was in flight when the
//! process ended is found again by the next scan. Threads are joined from left to right.

mod backfill;
mod backlog;
mod bundle_watch;
mod counters;
mod decode;
mod decoder;
mod driver;
mod in_flight;
mod infer;
mod intake;
mod live;
mod pipeline;
mod scan;
mod shutdown;
mod signals;
mod supervisor;
mod survey;
mod systemd;
mod tagging;
mod work;
mod write_lock;
mod writer;

pub use counters::{Counters, Snapshot};
pub use decoder::{Decoders, serve as serve_decoder};
pub use live::{LiveImage, LiveModel, LiveScan, LiveSource, LiveStatus, ask as ask_status};
pub use scan::{ScanReport, scan};
pub use signals::{Control, install as install_signals};
pub use supervisor::run;

use std::path::PathBuf;

use crate::store::StoreError;
use edge_model::scorer::ScorerError;

/// What stops the daemon or a scan. What is wrong with one file is not among these: that is counted and recorded.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration was refused.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The model was refused or its device failed.
    #[error(transparent)]
    Scorer(#[from] ScorerError),
    /// The database was refused or failed for good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A directory cannot be watched or scanned.
    #[error(transparent)]
    Watch(#[from] crate::watch::WatchError),
    /// A directory that was named cannot be scanned.
    #[error(transparent)]
    Scan(#[from] crate::watch::ScanError),
    /// A directory that was named is not there.
    #[error("{}: there is no such directory. Create it or name another one", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// No directory was named at all.
    #[error("no directory to watch: name one on the command line or under [watch] dirs in the configuration")]
    NothingToWatch,
    /// Another process writes into the same database.
    #[error("{}: another edge-scorer (process {pid}) is writing into this database. Stop it, or use another --db", path.display())]
    Locked {
        /// The database.
        path: PathBuf,
        /// The other process, as it wrote it down.
        pid: String,
    },
    /// The operating system refused.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A thread ended in a panic: a defect of this program.
    #[error("the {0} thread has panicked; what was committed is safe. Please report the message above")]
    Panicked(&'static str),
}
