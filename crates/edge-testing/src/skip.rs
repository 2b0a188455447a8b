//! Reports skipped tests. A test returns early only after it has called one of these functions, so no test is skipped silently.

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Reports that `test` did not run, or ran only in part. The line is written to stderr directly, so the test runner does not capture
/// it. It is also appended to the file that `EDGE_SCORER_SKIP_LOG` names; `scripts/test` counts the lines of that file.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(log) = std::env::var_os("EDGE_SCORER_SKIP_LOG") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let _ = file.and_then(|mut f| f.write_all(line.as_bytes()));
    }
}

/// The name of the running test: the test runner gives it to the test's thread. With `--test-threads=1` the test runs in the main
/// thread, and the path of the test program is returned.
pub fn test_name() -> String {
    let thread = std::thread::current();
    match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => std::env::args().next().unwrap_or_default(),
    }
}

/// Whether a program is installed. `program` is a path with a `/`, or the name of a file in a directory of `PATH`. If it is not
/// installed, reports `test` as skipped.
pub fn has_program(test: &str, program: &str) -> bool {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let found = Path::new(program).is_file() && program.contains('/')
        || std::env::split_paths(&dirs).any(|dir| dir.join(program).is_file());
    if !found {
        skip(test, &format!("the program {program} is not installed"));
    }
    found
}

/// Whether this user may run `unshare` with these options. If not, reports `test` as skipped.
pub fn can_unshare(test: &str, options: &[&str]) -> bool {
    if !has_program(test, "unshare") {
        return false;
    }
    let output = Command::new("unshare").args(options).arg("true").output();
    let refusal = match output {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    skip(test, &format!("`unshare {}` is refused here: {refusal}", options.join(" ")));
    false
}
