//! The bundle: a directory that holds a model and all that is needed to use and to trust it.
//!
//! Reads with every doubt as a typed refusal, writes atomically, and keeps the goldens. Runs no network: whoever replays the
//! goldens is above this module.

mod error;
mod goldens;
pub mod manifest;
mod reader;
mod writer;

pub use error::BundleError;
pub use goldens::{GoldenTensors, Replay};
pub use manifest::Manifest;
pub use reader::Bundle;
pub use writer::BundleWriter;

use sha2::{Digest, Sha256};

/// SHA-256 as 64 lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}
