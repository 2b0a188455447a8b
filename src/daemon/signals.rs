//! Converts signals to messages: SIGTERM and SIGINT stop, SIGHUP reloads. A second stop signal ends the process immediately.

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The request that a signal makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Finish the files in flight and end.
    Stop,
    /// Read the configuration and the bundle again.
    Reload,
}

/// Installs the signal handlers and returns the channel of requests. Call it once per process, before starting threads that must end in
/// order.
///
/// # Errors
/// The operating system refused a handler or the thread.
pub fn install() -> std::io::Result<Receiver<Control>> {
    edge_cli::stop_flag()?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = bounded(8);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let control = if signal == SIGHUP { Control::Reload } else { Control::Stop };
            // If the channel is full, it already holds the same request or the process is about to end.
            let _ = sender.try_send(control);
        }
    })?;
    Ok(receiver)
}
