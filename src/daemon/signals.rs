//! Converts signals to messages: SIGTERM and SIGINT stop, SIGHUP reloads. A second stop signal ends the process immediately.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
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

/// Makes this process ignore SIGTERM, SIGINT and SIGHUP. Service managers and terminals send them to a decoder process and its parent;
/// only the parent acts on them.
///
/// # Errors
/// The operating system refused a handler.
pub(super) fn ignore_stops() -> std::io::Result<()> {
    // A registered handler replaces the signal's default action. No code reads the flag.
    let unread_flag = Arc::new(AtomicBool::new(false));
    [SIGTERM, SIGINT, SIGHUP].into_iter().try_for_each(|s| flag::register(s, Arc::clone(&unread_flag)).map(drop))
}
