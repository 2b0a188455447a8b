//! The time, as an argument that tests can set. Below every other module; it never waits.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since the clock was made. It never goes back and never jumps: for waiting.
    pub monotonic: Duration,
    /// The time of day, which someone may set: for recording.
    pub wall: Timestamp,
}

/// A time as it is written everywhere: UTC, ISO 8601 with milliseconds and `Z`, so that texts sort as times follow.
pub fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Now;
}

/// The clocks of the machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now { monotonic: self.start.elapsed(), wall: Timestamp::now() }
    }
}

/// A clock that stands still until it is moved, for tests.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Now>,
}

impl ManualClock {
    /// A clock at zero and at the given time of day.
    pub fn new(wall: Timestamp) -> Self {
        Self { now: Mutex::new(Now { monotonic: Duration::ZERO, wall }) }
    }

    /// Moves both times on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        now.monotonic = now.monotonic.saturating_add(by);
        now.wall = now.wall.checked_add(by).unwrap_or(Timestamp::MAX);
    }

    /// Sets the time of day, as an operator or a time server does; the monotonic time does not notice.
    pub fn set_wall(&self, wall: Timestamp) {
        self.lock().wall = wall;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_goes_on() {
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
}
