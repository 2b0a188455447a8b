//! Converts signals to requests: SIGTERM and SIGINT stop, SIGHUP reloads. A second stop signal ends the process at once, and so does the first
//! one if the work in progress takes too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

/// Time after a stop signal at which the process ends even if it waits for a disk, a device or a model.
const STOP_TIMEOUT: Duration = Duration::from_secs(9);

/// The request that a signal makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Finish the files in flight and end.
    Stop,
    /// Read the configuration and the bundle again.
    Reload,
}

/// The requests that signals make.
#[derive(Debug)]
pub struct Requests {
    /// One request after the other.
    pub control: Receiver<Control>,
    stopping: Arc<AtomicBool>,
}

impl Requests {
    /// Returns whether a stop was requested, even if nobody has received the request yet.
    pub(super) fn is_stop_requested(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Installs the signal handlers. Call it once per process, before starting threads that must end in order. `exit_code` is that of a process
/// that is still at work some seconds after a stop signal.
///
/// # Errors
/// The operating system refused a handler or the thread.
pub fn install(exit_code: u8) -> std::io::Result<Requests> {
    let stopping = edge_cli::stop_flag()?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, control) = bounded(8);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let control = if signal == SIGHUP { Control::Reload } else { Control::Stop };
            // If the channel is full, it already holds the same request or the process is about to end.
            let _ = sender.try_send(control);
            if control == Control::Stop {
                end_later(exit_code);
            }
        }
    })?;
    Ok(Requests { control, stopping })
}

/// Ends the process after [`STOP_TIMEOUT`] unless it has ended by itself.
fn end_later(exit_code: u8) {
    let end = move || {
        std::thread::sleep(STOP_TIMEOUT);
        log::warn!(
            "the work in progress did not end within {} s after the stop signal, so it is given up. All committed results are safe; the \
             next scan finds the other images",
            STOP_TIMEOUT.as_secs()
        );
        // Without the libraries' own handlers, which could wait for a device that does not answer.
        low_level::exit(exit_code.into());
    };
    if let Err(error) = std::thread::Builder::new().name("stop-timeout".to_owned()).spawn(end) {
        log::warn!("no thread can be started that would limit the time of the stop: {error}");
    }
}
