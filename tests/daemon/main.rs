//! The running daemon, with real files, signals, mounts, SQLite and failing disks.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bundles;
mod cage;
mod decoders;
mod faulty_disk;
mod live;
mod mounts;
mod names;
mod retry;
mod run;
mod uploads;
mod watch_kernel;
mod watchdog;
