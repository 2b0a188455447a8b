//! The live status of the running daemon. A Unix socket beside the database sends it once, as JSON, to each client that
//! connects. A status file would wear out the SD card and would remain after the daemon has ended.

mod observer;
mod rate;
mod socket;
mod status;

pub(super) use observer::{LastImage, Observer};
pub(super) use socket::StatusSocket;
pub use socket::ask;
pub use status::{LiveImage, LiveModel, LiveScan, LiveSource, LiveStatus};
