//! The daemon and `scan`: the threads and channels between a new file and its committed score.
//!
//! ```text
//! hints ─> driver ─┬─> fresh ───┬─> decode (N threads) ─> decoded ─┬─> infer (M threads) ─> outcomes ─> writer (1)
//!                  ├─> backlog ─┘                                  │                           │
//!                  ├─> stored ─────────────────────────────────────┘                           │
//!                  └─> presence of files ──────────────────────────────────────────────────────┘
//! ```
//!
//! The driver surveys directories, waits until files have settled, and collects stored embeddings that lack scores. In the daemon it
//! runs on the intake thread, which also receives the hints from the watched directories. `scan` runs it on the calling thread and
//! receives no hints. The fresh and backlog lanes both lead to the decoding threads, which take from the backlog only when the fresh
//! lane is empty. Each decoding thread has one decoder. The number of inference threads is the number of streams in the device's policy.
//! Decoding threads send failed and dropped files directly to the writer. Only the writer thread changes the database while the
//! pipeline runs.
//!
//! Every channel is bounded, so a slow thread delays the threads before it and memory use stays constant. The database and the directories
//! are the truth: an image is done when it is committed, and the next scan finds the files that were in flight when the process ended.
//! Threads are joined from left to right.

mod backfill;
mod backlog;
mod bundle_watch;
mod counters;
mod decode;
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
pub use live::{LiveImage, LiveModel, LiveScan, LiveSource, LiveStatus, ask as ask_status};
pub use scan::{ScanReport, scan};
pub use signals::{Control, Requests, install as install_signals};
pub use supervisor::run;

use std::path::PathBuf;

use crate::decoder::DecodeError;
use crate::prover::ProverError;
use crate::store::StoreError;
use edge_model::scorer::ScorerError;

/// An error that stops the daemon or a scan. Failures of single files are counted and recorded instead.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration was refused.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The model was refused or its device failed.
    #[error(transparent)]
    Scorer(#[from] ScorerError),
    /// The bundle was refused in its trial in a process of its own. Holds the message of the scorer's error.
    #[error("{0}")]
    Refused(String),
    /// The trial of the bundle in a process of its own has no result.
    #[error("{}: the model was tried in a process of its own and is refused: {source}. Copy the bundle again from the original, or use \
        another one", dir.display())]
    Trial {
        /// Directory of the bundle.
        dir: PathBuf,
        /// Why the trial has no result.
        source: ProverError,
    },
    /// Another bundle was put in place of the one that was tried.
    #[error("{}: the bundle was exchanged while it was being opened. Start again", dir.display())]
    Exchanged {
        /// Directory of the bundle.
        dir: PathBuf,
    },
    /// A stop was requested before the model was open.
    #[error("stopped before the model was open")]
    Stopped,
    /// The database was refused or failed permanently.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A directory cannot be watched or scanned.
    #[error(transparent)]
    Watch(#[from] crate::watch::WatchError),
    /// A directory given by the user cannot be scanned.
    #[error(transparent)]
    Scan(#[from] crate::watch::ScanError),
    /// A directory given by the user does not exist.
    #[error("{}: there is no such directory. Create it or name another one", path.display())]
    NoDirectory {
        /// Path of the missing directory.
        path: PathBuf,
    },
    /// No directory was given.
    #[error("no directory to watch: name one on the command line or under [watch] dirs in the configuration")]
    NothingToWatch,
    /// Another process writes into the same database.
    #[error("{}: another edge-scorer (process {pid}) is writing into this database. Stop that process, or give another database with --db", path.display())]
    Locked {
        /// Path of the database.
        path: PathBuf,
        /// Process id that the other process wrote into the lock file.
        pid: String,
    },
    /// No decoder process can be started.
    #[error(transparent)]
    Decoder(#[from] DecodeError),
    /// The operating system refused an operation.
    #[error("{failure}: {source}. {next}")]
    Io {
        /// Description of the failed operation.
        failure: String,
        /// The operating system's error.
        source: std::io::Error,
        /// Advice for the user, as one sentence without a full stop.
        next: &'static str,
    },
    /// A thread panicked, which is a defect of this program.
    #[error(
        "the {0} thread panicked, which is a defect. All committed results are safe. Please report the panic message in the log"
    )]
    Panicked(&'static str),
}
