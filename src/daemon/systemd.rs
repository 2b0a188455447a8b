//! Messages to systemd. Without systemd no messages are sent.

use std::time::Duration;

use sd_notify::NotifyState;

use super::live::Observer;
use crate::clock::SharedClock;

/// The daemon's connection to its service manager.
pub(super) struct ServiceManager {
    clock: SharedClock,
    watchdog: Option<Watchdog>,
    status: String,
}

impl ServiceManager {
    pub(super) fn new(clock: SharedClock) -> Self {
        let now = clock.now().monotonic;
        let watchdog = sd_notify::watchdog_enabled().map(|interval| Watchdog::new(interval, now));
        Self { clock, watchdog, status: String::new() }
    }

    /// Reports that a start or a reload is complete.
    pub(super) fn ready(&self) {
        notify(&[NotifyState::Ready]);
    }

    /// Reports that a reload begins.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
    }

    /// Reports that the shutdown begins.
    pub(super) fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }

    /// Sends the status line if it has changed, and a watchdog ping unless the work has made no progress for `stuck`. Call it about once
    /// a second.
    pub(super) fn tick(&mut self, observer: &Observer, stuck: Duration) {
        let status = observer.status().to_string();
        if status != self.status {
            notify(&[NotifyState::Status(&status)]);
            self.status = status;
        }
        let counters = observer.counters.snapshot();
        // Repeated commit attempts, for example on a full disk, count as progress: a restart would not free the disk.
        let progress = counters.finished() + counters.backfilled + counters.commits;
        let (now, is_idle) = (self.clock.now().monotonic, observer.in_flight.len() == 0);
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.should_ping(now, is_idle, progress, stuck)) {
            notify(&[NotifyState::Watchdog]);
        }
    }
}

/// Decides when to send watchdog pings.
struct Watchdog {
    /// Time without a ping after which the service manager kills the daemon.
    interval: Duration,
    last_ping: Option<Duration>,
    last_progress: Duration,
    progress: u64,
}

impl Watchdog {
    fn new(interval: Duration, now: Duration) -> Self {
        Self { interval, last_ping: None, last_progress: now, progress: 0 }
    }

    /// Returns whether a ping is due. No ping is due while files are in flight and `progress` has not changed for `stuck`.
    fn should_ping(&mut self, now: Duration, is_idle: bool, progress: u64, stuck: Duration) -> bool {
        if is_idle || progress != self.progress {
            self.progress = progress;
            self.last_progress = now;
        }
        let is_due = self.last_ping.is_none_or(|at| now.saturating_sub(at) >= self.interval / 3);
        let should_ping = is_due && now.saturating_sub(self.last_progress) < stuck;
        if should_ping {
            self.last_ping = Some(now);
        }
        should_ping
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd cannot be notified: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUCK: Duration = Duration::from_secs(60);

    #[test]
    fn pings_come_every_third_of_the_interval_and_stop_while_work_is_stuck() {
        let at = Duration::from_secs;
        let mut watchdog = Watchdog::new(at(30), at(0));
        let pings: Vec<u64> = (0..=25).filter(|&s| watchdog.should_ping(at(s), true, 0, STUCK)).collect();
        assert_eq!(pings, [0, 10, 20]);
        assert!(watchdog.should_ping(at(1000), true, 0, STUCK), "an idle daemon has nothing to make progress with");
        // A file is in flight from 1000 s on and there is no progress.
        let pings: Vec<u64> = (1001..1200).filter(|&s| watchdog.should_ping(at(s), false, 0, STUCK)).collect();
        assert_eq!(pings, [1010, 1020, 1030, 1040, 1050]);
        assert!(watchdog.should_ping(at(1200), false, 1, STUCK), "the work makes progress");
        assert!(watchdog.should_ping(at(1259), false, 1, STUCK));
        assert!(!watchdog.should_ping(at(1270), false, 1, STUCK));
    }
}
