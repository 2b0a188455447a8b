//! The contents of the live status.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The status of the daemon at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveStatus {
    /// Process id of the daemon.
    pub pid: u32,
    /// Version of the running edge-scorer, such as `0.1.0`.
    pub version: String,
    /// Time at which the daemon started with this configuration and model, in UTC, ISO 8601.
    pub started_at: String,
    /// The model in use.
    pub model: LiveModel,
    /// Files in flight: candidates that are not committed yet.
    #[serde(rename = "in_work")]
    pub in_flight: u64,
    /// Files that wait until they have been written completely.
    pub settling: u64,
    /// Progress of the survey whose files wait for the decoders; `None` if no such files wait.
    pub scan: Option<LiveScan>,
    /// Files finished per minute, over the last minute with files in flight.
    pub per_minute: f64,
    /// Estimated seconds until all files in flight and all files of the survey are finished, at the rate `per_minute`. An upper bound,
    /// because unchanged files of the survey take no time.
    pub left_s: Option<u64>,
    /// Images scored since `started_at`.
    pub scored: u64,
    /// Files linked to a known image since `started_at`.
    pub linked: u64,
    /// Failed attempts since `started_at`.
    pub failed: u64,
    /// Scores computed from stored embeddings since `started_at`.
    pub backfilled: u64,
    /// The last file whose scores were committed.
    pub last_image: Option<LiveImage>,
    /// The watched directories, and how each is watched.
    pub sources: Vec<LiveSource>,
    /// Resident memory of the daemon in bytes, without its decoder processes.
    pub memory_bytes: Option<u64>,
}

/// Writes the status in one line, as systemd shows it.
impl fmt::Display for LiveStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scored, linked, failed, in_flight, .. } = self;
        write!(f, "{scored} scored, {linked} copies, {failed} failed, {in_flight} in flight")?;
        if let Some(LiveScan { seen, total }) = self.scan {
            write!(f, ", scan at {seen} of {total}")?;
        }
        if self.in_flight > 0 && self.per_minute > 0.0 {
            write!(f, ", {:.0} a minute", self.per_minute)?;
        }
        match self.left_s {
            Some(left) if self.in_flight > 0 => write!(f, ", about {} left", duration_text(left)),
            _ => Ok(()),
        }
    }
}

/// Formats a time in seconds, minutes or hours, rounded down.
fn duration_text(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// The model in use, and its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as the columns of the table model")]
pub struct LiveModel {
    pub name: String,
    pub digest: String,
    pub device: String,
    pub precision: String,
    pub device_reason: String,
}

/// Progress of a survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveScan {
    /// Number of images that the survey has seen.
    pub seen: u64,
    /// Number of images below the surveyed directory.
    pub total: u64,
}

/// An image whose scores were committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveImage {
    /// Path of the file; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Time at which the scores were committed, in UTC, ISO 8601.
    pub at: String,
}

/// A watched directory, and how changes in it are detected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSource {
    /// Path of the directory.
    pub dir: String,
    /// How changes are detected: `inotify`, `poll` or `waiting` (the directory does not exist).
    pub kind: String,
    /// Why changes are detected in this way, as text for people.
    pub reason: String,
}
