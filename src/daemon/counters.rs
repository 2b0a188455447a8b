//! The counters of a run. The threads of the pipeline update them; progress bars, `sd_notify` and the final report read them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Shared counters. All except the last three only increase.
#[derive(Debug, Default)]
pub struct Counters {
    /// Image files found by surveys.
    pub(super) found: AtomicU64,
    /// Files found by surveys that are unchanged since they were recorded.
    pub(super) unchanged: AtomicU64,
    /// Files found by surveys that failed before and whose next attempt is not due.
    pub(super) waiting: AtomicU64,
    /// Files that were put in flight: handed to the decoders.
    pub(super) queued: AtomicU64,
    /// Images scored and committed.
    pub(super) scored: AtomicU64,
    /// Files whose content was already known, such as renamed or copied files.
    pub(super) linked: AtomicU64,
    /// Failed attempts to read, decode or score a file.
    pub(super) failed: AtomicU64,
    /// Files that vanished or changed before they were read.
    pub(super) dropped: AtomicU64,
    /// Scores computed from stored embeddings.
    pub(super) backfilled: AtomicU64,
    /// Attempts to commit results, successful or not.
    pub(super) commits: AtomicU64,
    /// Files that have not settled yet.
    pub(super) settling: AtomicU64,
    /// Images that the current survey has seen.
    pub(super) scan_seen: AtomicU64,
    /// Images below the directory of the current survey; 0 while the survey has found few files to score.
    pub(super) scan_total: AtomicU64,
}

/// A copy of the counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the fields are those of Counters")]
pub struct Snapshot {
    pub found: u64,
    pub unchanged: u64,
    pub waiting: u64,
    pub queued: u64,
    pub scored: u64,
    pub linked: u64,
    pub failed: u64,
    pub dropped: u64,
    pub backfilled: u64,
    pub commits: u64,
    pub settling: u64,
    pub scan_seen: u64,
    pub scan_total: u64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    pub(super) fn set(counter: &AtomicU64, value: u64) {
        counter.store(value, Relaxed);
    }

    /// Returns the current values.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            found: self.found.load(Relaxed),
            unchanged: self.unchanged.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            queued: self.queued.load(Relaxed),
            scored: self.scored.load(Relaxed),
            linked: self.linked.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            backfilled: self.backfilled.load(Relaxed),
            commits: self.commits.load(Relaxed),
            settling: self.settling.load(Relaxed),
            scan_seen: self.scan_seen.load(Relaxed),
            scan_total: self.scan_total.load(Relaxed),
        }
    }
}

impl Snapshot {
    /// Returns the number of files that left the pipeline, with any outcome.
    pub fn finished(&self) -> u64 {
        self.scored + self.linked + self.failed + self.dropped
    }
}
