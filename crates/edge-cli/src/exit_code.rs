//! The exit codes of both programs, in one place.

/// All done.
pub const OK: u8 = 0;
/// Something failed; the rest was done.
pub const SOME_FAILED: u8 = 1;
/// The command line is wrong (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// An input that was named does not exist or cannot be read (`EX_NOINPUT`).
pub const NO_INPUT: u8 = 66;
/// The configuration or the bundle was refused (`EX_CONFIG`).
pub const CONFIG: u8 = 78;
