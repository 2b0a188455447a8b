//! `edge-scorer migrate`: updates the database's schema.

use std::io::{Write, stdout};

use clap::Args;

use super::options::Common;
use crate::store::{SCHEMA_VERSION, Store, StoreError};
use edge_cli::Outcome;
use edge_cli::output::printable;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let path = arguments.common.database()?;
    // Opening for writing would create the database.
    if !path.exists() {
        return Err(StoreError::NotFound { path }.into());
    }
    let store = Store::open(&path)?;
    let shown = path.display().to_string();
    let shown = printable(&shown);
    match store.migrated_from() {
        Some(from) => writeln!(stdout(), "{shown}: updated from schema version {from} to {SCHEMA_VERSION}")?,
        None => writeln!(stdout(), "{shown}: already has schema version {SCHEMA_VERSION}")?,
    }
    Ok(())
}
