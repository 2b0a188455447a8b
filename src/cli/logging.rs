//! Log lines on stderr. File names come from strangers: control characters in them are written as escapes, so that no name
//! can forge a line or move a terminal's cursor.

use std::io::Write;

use env_logger::{Builder, Env, Target};
use log::LevelFilter;

use super::output::printable;

/// Starts logging at `default` level; `EDGE_SCORER_LOG` (such as `debug` or `edge_scorer::watch=trace`) goes before it.
pub fn start(default: LevelFilter) {
    // Under systemd the journal has the time already.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let env = Env::new().filter_or("EDGE_SCORER_LOG", format!("off,edge_scorer={default}"));
    let result = Builder::from_env(env)
        .target(Target::Stderr)
        .format(move |out, record| {
            let message = record.args().to_string();
            let message = printable(&message);
            let level = record.level().to_string().to_lowercase();
            if journal {
                writeln!(out, "{level}: {message}")
            } else {
                writeln!(out, "{} {level}: {message}", out.timestamp_seconds())
            }
        })
        .try_init();
    // A logger that is there already, as in tests, serves as well.
    drop(result);
}
