//! Signals become messages: SIGTERM and SIGINT stop, SIGHUP reloads, a second stop ends the process at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Finish what is in flight and end.
    Stop,
    /// Read configuration and bundle again.
    Reload,
}

/// Installs the handlers. Call it once per process, before threads that must not be cut short are started.
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
            // A full channel already holds what this signal asks for, or the process is about to end.
            let _ = sender.try_send(control);
        }
    })?;
    Ok(receiver)
}

/// Leaves SIGTERM, SIGINT and SIGHUP to the process that has started this one: service managers and terminals send them to
/// both.
///
/// # Errors
/// The operating system refused a handler.
pub(super) fn ignore_stops() -> std::io::Result<()> {
    let nobody_looks = Arc::new(AtomicBool::new(false));
    [SIGTERM, SIGINT, SIGHUP].into_iter().try_for_each(|s| flag::register(s, Arc::clone(&nobody_looks)).map(drop))
}
