//! Gives the time through a [`Clock`], so that tests can set it. This module imports no other module of the crate.

#[cfg(test)]
mod manual;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never};
use jiff::Timestamp;

#[cfg(test)]
pub(crate) use manual::ManualClock;

/// One moment, on the monotonic clock and on the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since the clock was made. It never decreases and never jumps. Use it for waiting.
    pub monotonic: Duration,
    /// The time of day, which a user or a time server may change. Use it for recording.
    pub wall: Timestamp,
}

/// Formats a time for the database and all outputs: UTC, ISO 8601 with milliseconds and `Z`. These texts sort by time.
pub fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A clock that threads share.
pub type SharedClock = Arc<dyn Clock>;

/// A source of the present time; tests replace it.
pub trait Clock: Debug + Send + Sync {
    /// Returns the present moment.
    fn now(&self) -> Now;

    /// Returns a channel that receives one message when the monotonic time reaches `deadline`. Use it in `select!`.
    fn timer(&self, deadline: Duration) -> Receiver<Instant>;
}

/// The monotonic clock and the wall clock of the machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Makes a clock whose monotonic time starts at zero.
    fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Makes a system clock that threads can share. Its monotonic time starts at zero.
    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now { monotonic: self.start.elapsed(), wall: Timestamp::now() }
    }

    fn timer(&self, deadline: Duration) -> Receiver<Instant> {
        // A deadline that the machine's clock cannot represent gets a timer that never fires.
        self.start.checked_add(deadline).map_or_else(never, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_advances() {
        let clock = SystemClock::new();
        let first = clock.now();
        assert!(clock.now().monotonic >= first.monotonic);
        assert!(first.wall > Timestamp::constant(1_700_000_000, 0));
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let wall = Timestamp::constant(1_767_323_045, 0);
        let clock = ManualClock::new(wall);
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().monotonic, Duration::from_millis(1500));
        assert_eq!(clock.now().wall.as_millisecond(), wall.as_millisecond() + 1500);
        clock.set_wall(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Now { monotonic: Duration::from_millis(1500), wall: Timestamp::UNIX_EPOCH });
    }

    #[test]
    fn timers_fire_when_their_time_is_reached_and_not_before() {
        let manual = ManualClock::new(Timestamp::UNIX_EPOCH);
        let timer = manual.timer(Duration::from_secs(2));
        assert!(manual.has_timer(Duration::from_secs(2)));
        manual.advance(Duration::from_millis(1999));
        assert!(timer.try_recv().is_err());
        manual.advance(Duration::from_millis(1));
        assert!(timer.try_recv().is_ok() && !manual.has_timer(Duration::from_secs(2)));
        assert!(manual.timer(Duration::from_secs(1)).try_recv().is_ok(), "a deadline in the past");

        let system = SystemClock::new();
        assert!(system.timer(Duration::ZERO).recv().is_ok());
        assert!(system.timer(Duration::MAX).try_recv().is_err());
    }
}
