//! The rate of the daemon: files finished per second, over the last minute with files in flight.

use std::collections::VecDeque;
use std::time::Duration;

/// Length of the period that the rate covers.
const WINDOW: Duration = Duration::from_secs(60);

/// Computes the rate from observations of the number of finished files.
#[derive(Debug, Default)]
pub(super) struct Rate {
    seen: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// Records the number of files finished until `now`, a time of a monotonic clock. While no files are in flight (`busy`
    /// is false) the rate does not change, because idle time does not predict the speed of later files.
    pub(super) fn observe(&mut self, now: Duration, finished: u64, busy: bool) {
        if !busy && self.seen.back().is_some_and(|&(_, last)| last == finished) {
            // Shift the observations by the idle time, so that the rate does not include it.
            let idle = self.seen.back().map_or(now, |&(at, _)| at);
            self.seen.iter_mut().for_each(|(at, _)| *at = at.saturating_add(now.saturating_sub(idle)));
            return;
        }
        self.seen.push_back((now, finished));
        while self.seen.len() > 2 && self.seen.front().is_some_and(|&(at, _)| now.saturating_sub(at) > WINDOW) {
            self.seen.pop_front();
        }
    }

    /// Returns the number of files per second; 0 before the second observation.
    pub(super) fn per_second(&self) -> f64 {
        let (Some((first_at, first)), Some((last_at, last))) = (self.seen.front(), self.seen.back()) else {
            return 0.0;
        };
        let seconds = last_at.saturating_sub(*first_at).as_secs_f64();
        if seconds > 0.0 { (last - first) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_of_work_counts() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), 0.0);
        let at = Duration::from_secs;
        (0..=200).for_each(|s| rate.observe(at(s), if s < 100 { s } else { 100 + (s - 100) * 5 }, true));
        assert!((rate.per_second() - 5.0).abs() < 0.01, "{}", rate.per_second());
        (201..=5000).for_each(|s| rate.observe(at(s), 600, false));
        assert!((rate.per_second() - 5.0).abs() < 0.1, "idle: {}", rate.per_second());
        (5001..=5120).for_each(|s| rate.observe(at(s), 600 + (s - 5000) * 2, true));
        assert!((rate.per_second() - 2.0).abs() < 0.01, "{}", rate.per_second());
        assert!(rate.seen.len() < 70);
    }
}
