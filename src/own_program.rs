//! Starts this program again, for the work that a process of its own must do.

use std::io::{self, ErrorKind};
use std::process::Command;

/// Environment variable with the program, and its arguments, that runs programs which the kernel cannot run, such as an emulator of another
/// processor.
const RUNNER: &str = "EDGE_SCORER_RUNNER";

/// The command that starts this program again.
///
/// # Errors
/// The emulator that the environment names is empty, or the path of this program is unknown to it.
pub(crate) fn command() -> io::Result<Command> {
    let Ok(runner) = std::env::var(RUNNER) else {
        // This link starts the running program even after an upgrade has replaced its file.
        return Ok(Command::new("/proc/self/exe"));
    };
    let mut words = runner.split_whitespace();
    let mut command = Command::new(words.next().ok_or(ErrorKind::InvalidInput)?);
    command.args(words).arg(std::env::current_exe()?);
    Ok(command)
}
