//! The exit codes of `edge-scorer` and `edge-trainer`.

/// The program completed everything that was requested.
pub const OK: u8 = 0;
/// Part of the request failed; everything else was done.
pub const SOME_FAILED: u8 = 1;
/// The command line is wrong (`EX_USAGE` of `sysexits.h`).
pub const USAGE: u8 = 64;
/// A named input does not exist or cannot be read (`EX_NOINPUT`).
pub const NO_INPUT: u8 = 66;
/// The configuration or the bundle was refused (`EX_CONFIG`).
pub const CONFIG: u8 = 78;
/// A second stop signal ended the process at once: 128 + SIGINT, as shells report it.
pub const STOPPED_AT_ONCE: u8 = 130;

/// The list of the exit codes for `--help`.
pub const HELP: &str = "Exit codes: 0 all done, 1 part of the request failed, 64 usage, 66 input missing or \
    unreadable, 78 configuration or bundle refused, 130 stopped by a second signal.";
