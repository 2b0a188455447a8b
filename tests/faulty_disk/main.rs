//! The disk under the database: it loses power, has no room, gives back what was not written. The built program runs with a
//! library between it and the disk, so that all of this happens to the very code that runs on a device.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damaged;
mod full;
mod played;
mod power_cut;

use std::path::PathBuf;

use edge_testing::{Place, compile_library};

/// Compiles the library that goes between.
fn library(place: &Place) -> PathBuf {
    let library = place.path("disk.so");
    compile_library("tests/faulty_disk/disk.c", &library);
    library
}
