//! What systemd is told. Without systemd every message goes nowhere and costs nothing.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::live::Observer;

/// The daemon's line to its service manager.
pub(super) struct ServiceManager {
    watchdog: Option<Duration>,
    last_ping: Option<Instant>,
    last_progress: Instant,
    progress: u64,
    status: String,
}

impl ServiceManager {
    pub(super) fn new() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
            last_ping: None,
            last_progress: Instant::now(),
            progress: 0,
            status: String::new(),
        }
    }

    /// Start-up or reload is complete.
    pub(super) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// A reload begins.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// The shutdown begins.
    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Called about once a second: the status line when it has changed, and the watchdog ping unless work has stood still for
    /// as long as `stuck`.
    pub(super) fn tick(&mut self, observer: &Observer, stuck: Duration) {
        let (counters, in_flight) = (observer.counters.snapshot(), observer.in_flight.len());
        let status = observer.status().to_string();
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
        // A commit that waits for a disk to have room is tried again and again: another start would not help it.
        let progress = counters.finished() + counters.backfilled + counters.commits;
        if in_flight == 0 || progress != self.progress {
            self.progress = progress;
            self.last_progress = Instant::now();
        }
        let due = |interval: Duration| self.last_ping.is_none_or(|at| at.elapsed() >= interval / 3);
        if self.watchdog.is_some_and(due) && self.last_progress.elapsed() < stuck {
            tell(&[NotifyState::Watchdog]);
            self.last_ping = Some(Instant::now());
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd cannot be told: {error}");
    }
}
