//! The flag that SIGINT and SIGTERM raise.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit status after a second stop signal: 128 + SIGINT, as shells report it.
const AT_ONCE: i32 = 130;

/// A flag that the first SIGINT or SIGTERM raises; the second ends the process at once. For long work that is no daemon.
///
/// # Errors
/// The operating system refused a handler.
pub fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // The order matters: at the first signal the flag is still down when the shutdown looks at it.
        flag::register_conditional_shutdown(signal, AT_ONCE, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    Ok(stopping)
}
