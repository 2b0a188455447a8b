//! For unit tests: saying loudly that one did not run. Integration tests have the same in `tests/common`.

use std::io::Write;

/// Writes past the test runner's capture, and into the list that is counted at the end of all tests.
pub(crate) fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(log) = std::env::var_os("EDGE_SCORER_SKIP_LOG") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let _ = file.and_then(|mut f| f.write_all(line.as_bytes()));
    }
}
