//! The one thread that speaks to the driver.
//!
//! Three habits of the libraries below ask for it: they panic where others return errors, a driver whose device has gone may
//! never return, and what they keep for each thread cannot be taken down once the device has failed (the destructors panic, which
//! ends the process). So the work goes to a thread that lives as long as the process, its panics become errors, and nobody waits
//! for it longer than a limit.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded, unbounded};

type Job = Box<dyn FnOnce() + Send>;

/// A thread of its own for a library, started when there is something to do.
pub(super) struct Owner {
    name: &'static str,
    state: Mutex<State>,
}

enum State {
    NotStarted,
    Working(Sender<Job>),
    /// A job has not come back: whatever is sent after it would wait for ever.
    Stuck(String),
}

impl Owner {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, state: Mutex::new(State::NotStarted) }
    }

    /// Does `work` in the thread. The error is the work's own, its panic, or that it did not end in time.
    pub(super) fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let (reply, answer) = bounded(1);
        let job = move || {
            let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(message(&*panic)));
            // Whoever asked may have given up.
            let _ = reply.send(result);
        };
        self.send(Box::new(job))?;
        let result = answer.recv_timeout(limit).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(self.give_up(limit)),
            RecvTimeoutError::Disconnected => Err(ENDED.to_owned()),
        });
        // The libraries' messages have several lines; logs and tables have one.
        result.map_err(|reason| reason.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Drops `what` in the thread, and does not wait for it.
    pub(super) fn dispose(&self, what: impl Send + 'static) {
        let job = move || {
            let _ = catch_unwind(AssertUnwindSafe(move || drop(what)));
        };
        // A thread that is stuck keeps what it has.
        let _ = self.send(Box::new(job));
    }

    fn send(&self, job: Job) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = match &*state {
            State::Working(jobs) => jobs.clone(),
            State::Stuck(reason) => {
                // What it holds must not be taken down by this thread.
                std::mem::forget(job);
                return Err(reason.clone());
            }
            State::NotStarted => {
                let (jobs, todo) = unbounded::<Job>();
                let work = move || todo.into_iter().for_each(|job| job());
                let spawned = std::thread::Builder::new().name(self.name.to_owned()).spawn(work);
                spawned.map_err(|e| format!("its thread cannot be started: {e}"))?;
                *state = State::Working(jobs.clone());
                jobs
            }
        };
        jobs.send(job).map_err(|_| ENDED.to_owned())
    }

    fn give_up(&self, limit: Duration) -> String {
        let reason = format!(
            "the driver has not answered for {} s; it is not asked again before edge-scorer is started again",
            limit.as_secs()
        );
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Stuck(reason.clone());
        reason
    }
}

const ENDED: &str = "the thread that speaks to the driver has ended";

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a library below gave up: {}", text.unwrap_or("it did not say why"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_a_stuck_thread_is_left_alone() {
        static OWNER: Owner = Owner::new("test");
        let limit = Duration::from_secs(30);
        assert_eq!(OWNER.call(limit, || Ok(1)), Ok(1));
        let panicked = OWNER.call::<()>(limit, || panic!("no {}", "memory"));
        assert_eq!(panicked, Err("a library below gave up: no memory".to_owned()));
        assert_eq!(OWNER.call(limit, || Ok(2)), Ok(2), "the thread goes on after a panic");

        let (hold, held) = bounded::<()>(0);
        let stuck = OWNER.call(Duration::from_millis(20), move || held.recv().map_err(|e| e.to_string())).unwrap_err();
        assert!(stuck.contains("has not answered"), "{stuck}");
        assert_eq!(OWNER.call(limit, || Ok(3)), Err(stuck), "nobody waits again");
        drop(hold);
    }
}
