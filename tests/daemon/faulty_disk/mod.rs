//! A faulty disk under the database: it loses power, is full, or returns damaged data. The built program runs with a library between
//! itself and the disk, so that the faults reach the same code as on a real device.

mod damaged;
mod full;
mod power_cut;
mod simulated_disk;

use std::path::PathBuf;

use edge_testing::{Place, compile_library};

/// Compiles the library that stands between the program and the disk. If there is no C compiler, reports the test as
/// skipped and returns `None`.
fn library(place: &Place) -> Option<PathBuf> {
    let library = place.path("disk.so");
    compile_library("tests/daemon/faulty_disk/disk.c", &library).then_some(library)
}
