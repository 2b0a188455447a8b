//! The bundle: a directory with a model and everything needed to use and to trust it.
//!
//! A damaged bundle is refused with a typed error; writing is atomic. This module stores and compares goldens but runs no
//! network: the replay is in [`crate::scorer`].
//!
//! The modules in the order of their imports (each uses only those before it): `digest`, `error`, `manifest`, `goldens`,
//! `quantiles`, `files`, `reader`, `writer`.

mod digest;
mod error;
mod files;
mod goldens;
pub mod manifest;
mod quantiles;
mod reader;
mod writer;

pub use digest::sha256_hex;
pub use error::BundleError;
pub use files::MAX_GRAPH_BYTES;
pub use goldens::{GoldenTensors, Replay};
pub use manifest::Manifest;
pub use reader::Bundle;
pub use writer::BundleWriter;
