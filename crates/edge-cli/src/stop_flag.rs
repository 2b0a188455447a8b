//! The flag that SIGINT and SIGTERM raise.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit_code;

/// Returns a flag that the first SIGINT or SIGTERM raises. The second signal ends the process at once with
/// [`exit_code::STOPPED_AT_ONCE`].
///
/// # Errors
/// Fails if the operating system refuses a signal handler.
pub fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // Handlers run in the order of registration. The shutdown is registered first, so it finds the flag still down at the first signal.
        flag::register_conditional_shutdown(signal, exit_code::STOPPED_AT_ONCE.into(), Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    Ok(stopping)
}
