//! `edge-scorer status`: the contents of the database and the state of the daemon.

use std::io::{self, Write, stdout};

use clap::Args;
use serde_json::json;

use super::options::{Common, ListFormat, ListOutput};
use crate::clock::iso;
use crate::daemon::{LiveStatus, ask_status};
use crate::store::{Counts, Model, Store};
use edge_cli::Outcome;
use edge_cli::output::{printable, write_json};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    output: ListOutput,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let path = arguments.common.database()?;
    let store = Store::open_read_only(&path)?;
    let (counts, model) = (store.counts()?, store.current_model()?);
    let live = ask_status(&path);
    let mut out = stdout().lock();
    match arguments.output.format {
        ListFormat::Table => {
            writeln!(out, "database      {}", printable(&path.display().to_string()))?;
            print_live(&mut out, live.as_ref())?;
            print_table(&mut out, &counts, model.as_ref())?;
        }
        ListFormat::Json => {
            write_json(&mut out, &to_json(&path.display().to_string(), live.as_ref(), &counts, model.as_ref()))?
        }
    }
    Ok(())
}

fn print_live(out: &mut impl Write, live: Option<&LiveStatus>) -> io::Result<()> {
    let Some(live) = live else { return writeln!(out, "daemon        no daemon is running on this database") };
    let (version, started_at) = (printable(&live.version), printable(&live.started_at));
    writeln!(out, "daemon        process {}, version {version}, running since {started_at}", live.pid)?;
    writeln!(out, "since start   {}", printable(&live.to_string()))?;
    if let Some(last) = &live.last_image {
        writeln!(out, "last image    {} ({})", printable(&last.path), printable(&last.at))?;
    }
    for source in &live.sources {
        writeln!(
            out,
            "watching      {} by {} ({})",
            printable(&source.dir),
            printable(&source.kind),
            printable(&source.reason)
        )?;
    }
    Ok(())
}

fn print_table(out: &mut impl Write, counts: &Counts, model: Option<&Model>) -> io::Result<()> {
    match model {
        Some(m) => {
            writeln!(out, "model         {} ({})", printable(&m.name), printable(&m.digest))?;
            writeln!(
                out,
                "device        {} in {} ({})",
                printable(&m.device),
                printable(&m.precision),
                printable(&m.device_reason)
            )?;
        }
        None => writeln!(out, "model         none yet")?,
    }
    let missing = format!("{} missing, {} offline", counts.files_missing, counts.files_offline);
    writeln!(out, "images        {} distinct; files: {} present, {missing}", counts.images, counts.files_present)?;
    writeln!(out, "scores        {} under {} tags", counts.scores, counts.tags)?;
    writeln!(out, "last scored   {}", counts.last_scored_at.map_or_else(|| "never".to_owned(), iso))?;
    writeln!(out, "failures      {}, {} of them quarantined", counts.failures, counts.quarantined)?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    writeln!(
        out,
        "size          {:.1} MiB, log {:.1} MiB, schema version {}",
        mib(counts.database_bytes),
        mib(counts.wal_bytes),
        counts.schema_version
    )
}

fn model_json(model: &Model) -> serde_json::Value {
    let Model { name, digest, device, precision, device_reason } = model;
    json!({ "name": name, "digest": digest, "device": device, "precision": precision, "device_reason": device_reason })
}

fn to_json(path: &str, live: Option<&LiveStatus>, counts: &Counts, model: Option<&Model>) -> serde_json::Value {
    json!({
        "database": path,
        "daemon": live,
        "model": model.map(model_json),
        "images": counts.images,
        "files": { "present": counts.files_present, "missing": counts.files_missing, "offline": counts.files_offline },
        "tags": counts.tags,
        "scores": counts.scores,
        "last_scored_at": counts.last_scored_at.map(iso),
        "failures": counts.failures,
        "quarantined": counts.quarantined,
        "schema_version": counts.schema_version,
        "database_bytes": counts.database_bytes,
        "wal_bytes": counts.wal_bytes,
    })
}
