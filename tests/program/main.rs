//! `edge-scorer` as its users run it: command lines, output, exit codes, the database and the unit file.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod completion;
mod doctor;
mod errors;
mod scan;
mod score;
mod store_sqlite3;
mod stored_embeddings;
mod systemd;
