//! `edge-scorer config check`: validates the configuration and tests the model, without changing anything.

use std::io::{Write, stdout};
use std::path::Path;

use clap::{Args, Subcommand};

use super::options::Common;
use edge_cli::output::printable;
use edge_cli::{CommandError, Outcome, exit_code};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Validate the configuration, test the model on this machine and check the directories; changes nothing
    Check(Common),
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let Command::Check(common) = &arguments.command;
    let (settings, scorer) = common.scorer()?;
    let mut out = stdout().lock();
    let shown = |path: &Path| printable(&path.display().to_string()).into_owned();
    writeln!(out, "model      {} in {}", printable(&scorer.manifest().name), shown(settings.model_dir()?))?;
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
        let encoded = scorer.encode_tag(tag).map_err(|e| CommandError::new(exit_code::CONFIG, e))?;
        scorer.warn_if_unknown(&encoded);
    }
    if missing > 0 {
        let message = format!(
            "{missing} of the watched directories cannot be read; create or mount them, and give this user read access"
        );
        return Err(CommandError::new(exit_code::NO_INPUT, message));
    }
    writeln!(out, "no problems found")?;
    Ok(())
}
