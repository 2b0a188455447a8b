//! `edge-scorer run` as a process, with real files, signals, mounts and SQLite.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod decoders;
mod live;
mod mounts;
mod names;
mod retry;
mod run;
mod watchdog;
