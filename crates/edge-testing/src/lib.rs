//! Support for the tests of all crates: loud skips, paths, images, runs of the built programs, waiting with a deadline.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(missing_docs, reason = "the names of test helpers say what they do")]

pub mod daemon;
mod files;
mod images;
mod place;
pub mod random;
mod skip;

use std::time::{Duration, Instant};

pub use files::{
    change_manifest, compile_library, copy_dir, copy_of_model, forge, make_old, model, program, repository, shared_data,
};
pub use images::{bytes, crc32, jpeg, picture, png, png_with_chunk, png_with_huge_header, png_with_keywords};
pub use place::{Place, ProgramOutput};
pub use skip::{can_unshare, has_program, skip, test_name};

/// The longest time that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Calls `ask` until it returns an answer, and fails after [`PATIENCE`].
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < give_up, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
