//! A clock that tests set.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Timestamp;

use super::{Clock, Now};

/// A clock that changes only when a test moves it.
#[derive(Debug)]
pub(crate) struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Debug)]
struct ManualState {
    now: Now,
    timers: Vec<(Duration, Sender<Instant>)>,
}

impl ManualClock {
    /// Makes a clock at monotonic time zero and the given time of day.
    pub(crate) fn new(wall: Timestamp) -> Self {
        let now = Now { monotonic: Duration::ZERO, wall };
        Self { state: Mutex::new(ManualState { now, timers: Vec::new() }) }
    }

    /// Advances both times and fires the timers whose deadline is reached.
    pub(crate) fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.now.monotonic = state.now.monotonic.saturating_add(by);
        state.now.wall = state.now.wall.checked_add(by).unwrap_or(Timestamp::MAX);
        let now = state.now.monotonic;
        state.timers.retain(|(deadline, timer)| {
            let is_due = *deadline <= now;
            if is_due {
                // The receiver is dropped if its `select!` took another branch.
                let _ = timer.try_send(Instant::now());
            }
            !is_due
        });
    }

    /// Sets the time of day, as a user or a time server does; the monotonic time does not change.
    pub(crate) fn set_wall(&self, wall: Timestamp) {
        self.lock().now.wall = wall;
    }

    /// Returns whether a timer with this deadline exists and has not fired. If so, a thread waits for it or is about
    /// to wait.
    pub(crate) fn has_timer(&self, deadline: Duration) -> bool {
        self.lock().timers.iter().any(|(at, _)| *at == deadline)
    }

    fn lock(&self) -> MutexGuard<'_, ManualState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        self.lock().now
    }

    fn timer(&self, deadline: Duration) -> Receiver<Instant> {
        let (sender, receiver) = bounded(1);
        let mut state = self.lock();
        if deadline <= state.now.monotonic {
            let _ = sender.try_send(Instant::now());
        } else {
            state.timers.push((deadline, sender));
        }
        receiver
    }
}
