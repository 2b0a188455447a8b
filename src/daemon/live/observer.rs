//! Composes the live status.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::rate::Rate;
use super::status::{LiveImage, LiveModel, LiveScan, LiveSource, LiveStatus};
use crate::clock::{Now, SharedClock, iso};
use crate::daemon::counters::Counters;
use crate::daemon::in_flight::InFlight;
use crate::watch::StatusHandle;
use edge_model::scorer::Scorer;

/// The last committed file and the time of its commit.
pub(in crate::daemon) type LastImage = Arc<Mutex<Option<(PathBuf, Timestamp)>>>;

/// Observes the daemon while it works with one configuration.
pub(in crate::daemon) struct Observer {
    pub(in crate::daemon) scorer: Arc<Scorer>,
    pub(in crate::daemon) counters: Arc<Counters>,
    pub(in crate::daemon) in_flight: InFlight,
    pub(in crate::daemon) last_image: LastImage,
    pub(in crate::daemon) sources: Vec<(PathBuf, StatusHandle)>,
    clock: SharedClock,
    started: Now,
    rate: Mutex<Rate>,
}

impl Observer {
    pub(in crate::daemon) fn new(
        scorer: Arc<Scorer>,
        counters: Arc<Counters>,
        in_flight: InFlight,
        last_image: LastImage,
        sources: Vec<(PathBuf, StatusHandle)>,
        clock: SharedClock,
    ) -> Self {
        let started = clock.now();
        Self { scorer, counters, in_flight, last_image, sources, clock, started, rate: Mutex::default() }
    }

    /// Updates the rate. Call it about once a second.
    pub(in crate::daemon) fn tick(&self) {
        let (finished, busy) = (self.counters.snapshot().finished(), self.in_flight.len() > 0);
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.observe(self.clock.now().monotonic.saturating_sub(self.started.monotonic), finished, busy);
    }

    /// Returns the present status.
    pub(in crate::daemon) fn status(&self) -> LiveStatus {
        let counters = self.counters.snapshot();
        let device = self.scorer.device();
        let per_second = self.rate.lock().unwrap_or_else(PoisonError::into_inner).per_second();
        let scan = (counters.scan_total > 0)
            .then_some(LiveScan { seen: counters.scan_seen, total: counters.scan_total.max(counters.scan_seen) });
        let in_flight = self.in_flight.len() as u64;
        let waiting = in_flight + scan.map_or(0, |s| s.total - s.seen);
        let last = self.last_image.lock().unwrap_or_else(PoisonError::into_inner);
        let image = |(path, at): &(PathBuf, Timestamp)| LiveImage { path: path.to_string_lossy().into(), at: iso(*at) };
        LiveStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: iso(self.started.wall),
            model: LiveModel {
                name: self.scorer.manifest().name.clone(),
                digest: self.scorer.digest().to_owned(),
                device: device.name.to_owned(),
                precision: device.precision.to_string(),
                device_reason: device.reason,
            },
            in_flight,
            settling: counters.settling,
            scan,
            per_minute: (per_second * 600.0).round() / 10.0,
            left_s: (per_second > 0.0 && waiting > 0).then(|| (waiting as f64 / per_second).ceil() as u64),
            scored: counters.scored,
            linked: counters.linked,
            failed: counters.failed,
            backfilled: counters.backfilled,
            last_image: last.as_ref().map(image),
            sources: self.sources.iter().map(source).collect(),
            memory_bytes: memory_bytes(),
        }
    }
}

fn source((dir, status): &(PathBuf, StatusHandle)) -> LiveSource {
    let status = status.get();
    LiveSource { dir: dir.to_string_lossy().into(), kind: status.kind.to_string(), reason: status.reason }
}

/// Returns the resident memory of this process, in bytes.
fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_this_process_is_known() {
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
