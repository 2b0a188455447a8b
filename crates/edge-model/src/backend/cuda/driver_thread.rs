//! The one thread that calls the CUDA driver and libraries.
//!
//! Three properties of the CUDA libraries make this thread necessary. They panic where others return errors. A call of the
//! driver may never return once the device has failed. The destructors of the libraries' thread-local data then panic, which
//! would end the process. So every call runs in a thread that lives as long as the process, panics are turned into errors, and
//! callers wait for a limited time only.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded, unbounded};

type DriverCall = Box<dyn FnOnce() + Send>;

/// A thread that runs calls one after the other. It starts with the first call and never ends.
pub(super) struct DriverThread {
    name: &'static str,
    state: Mutex<ThreadState>,
}

enum ThreadState {
    NotStarted,
    Running(Sender<DriverCall>),
    /// A call did not return in time. Any later call would wait for it, so all later calls are refused with this message.
    Stuck(String),
}

impl DriverThread {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, state: Mutex::new(ThreadState::NotStarted) }
    }

    /// Runs `work` in the thread and returns its result. A panic, or a call that takes longer than `limit`, is an error.
    pub(super) fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let (reply, answer) = bounded(1);
        let call = move || {
            let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(message(&*panic)));
            // Fails if the caller has stopped waiting.
            let _ = reply.send(result);
        };
        self.send(Box::new(call))?;
        let result = answer.recv_timeout(limit).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(self.give_up(limit)),
            RecvTimeoutError::Disconnected => Err(ENDED.to_owned()),
        });
        // Messages of the libraries have several lines; a log entry and a table cell have one.
        result.map_err(|reason| reason.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Drops `value` in the thread, without waiting.
    pub(super) fn dispose(&self, value: impl Send + 'static) {
        let call = move || {
            let _ = catch_unwind(AssertUnwindSafe(move || drop(value)));
        };
        // Fails if the thread is stuck; the value is then leaked.
        let _ = self.send(Box::new(call));
    }

    fn send(&self, call: DriverCall) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = match &*state {
            ThreadState::Running(calls) => calls.clone(),
            ThreadState::Stuck(reason) => {
                // Dropping the call would run destructors of CUDA objects in the caller's thread.
                std::mem::forget(call);
                return Err(reason.clone());
            }
            ThreadState::NotStarted => {
                let (calls, received) = unbounded::<DriverCall>();
                let work = move || received.into_iter().for_each(|call| call());
                let spawned = std::thread::Builder::new().name(self.name.to_owned()).spawn(work);
                spawned.map_err(|e| format!("the thread for the driver cannot be started: {e}"))?;
                *state = ThreadState::Running(calls.clone());
                calls
            }
        };
        calls.send(call).map_err(|_| ENDED.to_owned())
    }

    fn give_up(&self, limit: Duration) -> String {
        let reason = format!(
            "the driver has not answered for {} s; the driver is not used again until this program is restarted",
            limit.as_secs()
        );
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = ThreadState::Stuck(reason.clone());
        reason
    }
}

const ENDED: &str = "the thread for the driver has ended";

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    match text {
        Some(text) => format!("a CUDA library panicked: {text}"),
        None => "a CUDA library panicked without a message".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_a_stuck_thread_is_left_alone() {
        static THREAD: DriverThread = DriverThread::new("test");
        let limit = Duration::from_secs(30);
        assert_eq!(THREAD.call(limit, || Ok(1)), Ok(1));
        let panicked = THREAD.call::<()>(limit, || panic!("no {}", "memory"));
        assert_eq!(panicked, Err("a CUDA library panicked: no memory".to_owned()));
        assert_eq!(THREAD.call(limit, || Ok(2)), Ok(2), "the thread goes on after a panic");

        let (hold, held) = bounded::<()>(0);
        let stuck = THREAD.call(Duration::from_millis(20), move || held.recv().map_err(|e| e.to_string())).unwrap_err();
        assert!(stuck.contains("has not answered"), "{stuck}");
        assert_eq!(THREAD.call(limit, || Ok(3)), Err(stuck), "later calls do not wait");
        drop(hold);
    }
}
