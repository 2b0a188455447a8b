//! `edge-scorer config check`.

use std::io::{Write, stdout};

use clap::{Args, Subcommand};

use super::options::Common;
use edge_cli::output::printable;
use edge_cli::{Failure, Outcome, exit_code};
use edge_model::scorer::Scorer;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the configuration, prove the model on this machine, look at the directories; change nothing
    Check(Common),
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let Command::Check(common) = &arguments.command;
    let settings = common.settings(&[], &[])?;
    let scorer = Scorer::open_in(&settings.model_dir, settings.device, &settings.setup)?;
    let mut out = stdout().lock();
    let shown = |path: &std::path::Path| printable(&path.display().to_string()).into_owned();
    writeln!(out, "model      {} in {}", printable(&scorer.manifest().name), shown(&settings.model_dir))?;
    writeln!(out, "digest     {}", scorer.digest())?;
    writeln!(out, "device     {}, goldens replayed", printable(&scorer.device().to_string()))?;
    writeln!(out, "database   {}", shown(&settings.store.path))?;
    writeln!(out, "tags       {}", printable(&settings.tags.always.join(", ")))?;
    let mut missing = 0;
    for dir in &settings.watch.dirs {
        let state = if std::fs::read_dir(dir).is_ok() { "readable" } else { "MISSING or not readable" };
        missing += usize::from(state != "readable");
        writeln!(out, "watch      {} ({state})", shown(dir))?;
    }
    for tag in &settings.tags.always {
        let encoded = scorer.encode_tag(tag).map_err(|e| Failure::new(exit_code::CONFIG, e))?;
        scorer.warn_of_foreign(&encoded);
    }
    if missing > 0 {
        let message = format!("{missing} of the watched directories cannot be read; create or mount them");
        return Err(Failure::new(exit_code::NO_INPUT, message));
    }
    writeln!(out, "all right")?;
    Ok(())
}
