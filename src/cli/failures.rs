//! `edge-scorer failures`: lists the files that could not be scored, or makes them due for a retry.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use jiff::Timestamp;
use serde_json::json;

use super::options::{Common, ListFormat, ListOutput};
use crate::clock::iso;
use crate::store::Store;
use edge_cli::output::{Table, write_json};
use edge_cli::{CommandError, Outcome, exit_code};

/// Number of failures read from the database at a time.
const PAGE_ROWS: usize = 1000;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Retry all failed files, including quarantined ones. A running daemon retries them within seconds; without a
    /// daemon, the next scan does
    #[arg(long)]
    retry: bool,
    /// Retry only this file, or the files below this directory
    #[arg(long, value_name = "PATH", requires = "retry", value_hint = ValueHint::FilePath)]
    path: Option<PathBuf>,
    #[command(flatten)]
    output: ListOutput,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let path = arguments.common.database()?;
    if arguments.retry {
        return retry(&path, arguments.path.as_deref());
    }
    let store = Store::open_read_only(&path)?;
    let mut table = Table::new(&["attempts", "next retry", "stage", "path", "error"]);
    let mut after: Option<PathBuf> = None;
    loop {
        let page = store.failures(after.as_deref(), PAGE_ROWS)?;
        let Some(last) = page.last() else { break };
        after = Some(last.path.clone());
        for failure in page {
            let next = if failure.quarantined {
                "quarantined".to_owned()
            } else {
                failure.next_retry_at.map_or_else(|| "-".to_owned(), iso)
            };
            let path = failure.path.display().to_string();
            match arguments.output.format {
                ListFormat::Table => {
                    table.push(vec![
                        failure.attempts.to_string(),
                        next,
                        failure.stage.as_str().to_owned(),
                        path,
                        failure.error,
                    ]);
                }
                ListFormat::Json => write_json(
                    &mut stdout(),
                    &json!({
                        "path": path, "stage": failure.stage, "error": failure.error, "attempts": failure.attempts,
                        "next_retry_at": failure.next_retry_at.map(iso), "quarantined": failure.quarantined,
                        "last_failed_at": iso(failure.last_failed_at),
                    }),
                )?,
            }
        }
    }
    if let ListFormat::Table = arguments.output.format {
        table.write(&mut stdout().lock())?;
    }
    Ok(())
}

fn retry(database: &Path, path: Option<&Path>) -> Outcome {
    // Opening for writing would create a missing database. Opening for reading fails if there is none.
    drop(Store::open_read_only(database)?);
    let only = path
        .map(std::path::absolute)
        .transpose()
        .map_err(|e| CommandError::new(exit_code::USAGE, format!("--path cannot be used: {e}")))?;
    let count = Store::open(database)?.retry_failures(only.as_deref(), Timestamp::now())?;
    writeln!(
        stdout(),
        "{count} failed files are due for a retry. A running daemon retries them within seconds; without a daemon, the \
         next scan does"
    )?;
    Ok(())
}
