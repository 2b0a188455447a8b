//! What the running daemon says about itself: a Unix socket beside the database, on which whoever connects is told once, in JSON.
//! A file would wear the SD card out, and would still be there when the daemon is not.

mod observer;
mod rate;
mod socket;

use std::fmt;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use observer::{LastImage, Observer};
use socket::Address;
pub(super) use socket::StatusSocket;

/// Nobody who connects may hold the daemon up, and nobody waits longer for a daemon that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Answers are some kilobytes.
const LONGEST_BYTES: u64 = 4 << 20;

/// The daemon as it is at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveStatus {
    /// Its process number.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When this configuration and model began to work.
    pub started_at: String,
    /// The model in use.
    pub model: LiveModel,
    /// Files between their discovery and their commit.
    pub in_work: u64,
    /// Files that are waited for until they are written completely.
    pub settling: u64,
    /// How far the scan is whose finds wait for the decoders; none where nothing waits.
    pub scan: Option<LiveScan>,
    /// Files finished per minute, over the last minute of work.
    pub per_minute: f64,
    /// Seconds until the scan's finds are done at that rate, at most.
    pub left_s: Option<u64>,
    /// Images scored since then.
    pub scored: u64,
    /// Files of known content since then.
    pub linked: u64,
    /// Failed attempts since then.
    pub failed: u64,
    /// Scores computed from stored embeddings since then.
    pub backfilled: u64,
    /// The last file whose scores were committed.
    pub last_image: Option<LiveImage>,
    /// The watched directories.
    pub sources: Vec<LiveSource>,
    /// Resident memory of the daemon without its decoders.
    pub memory_bytes: Option<u64>,
}

/// One line, as systemd shows it.
impl fmt::Display for LiveStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} scored, {} copies, {} failed, {} in work", self.scored, self.linked, self.failed, self.in_work)?;
        if let Some(LiveScan { seen, total }) = self.scan {
            write!(f, ", scan at {seen} of {total}")?;
        }
        if self.in_work > 0 && self.per_minute > 0.0 {
            write!(f, ", {:.0} a minute", self.per_minute)?;
        }
        match self.left_s {
            Some(left) if self.in_work > 0 => write!(f, ", about {} left", words(left)),
            _ => Ok(()),
        }
    }
}

/// A time in words, rounded to what matters.
fn words(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// A model in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as the columns of the table model")]
pub struct LiveModel {
    pub name: String,
    pub digest: String,
    pub device: String,
    pub precision: String,
    pub device_reason: String,
}

/// A scan at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveScan {
    /// Images that it has seen.
    pub seen: u64,
    /// Images that there are.
    pub total: u64,
}

/// An image that was scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveImage {
    /// Its file; what is not UTF-8 in the name is replaced.
    pub path: String,
    /// When its scores were committed.
    pub at: String,
}

/// A watched directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSource {
    /// The directory.
    pub dir: String,
    /// inotify, poll or waiting.
    pub kind: String,
    /// Why.
    pub reason: String,
}

/// Asks the daemon that writes into this database; none where there is none.
pub fn ask(database: &Path) -> Option<LiveStatus> {
    let address = Address::of(database).ok()?;
    let stream = UnixStream::connect(address.path()).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut text = String::new();
    stream.take(LONGEST_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
