//! `edge-scorer run`: the daemon.

use clap::Args;
use log::LevelFilter;

use super::options::{Common, Targets};
use crate::clock::SystemClock;
use crate::daemon;
use edge_cli::{CommandError, Outcome, exit_code, logging};

const EXAMPLES: &str = "Examples:
  edge-scorer run /var/lib/camera
  edge-scorer run --config /etc/edge-scorer/edge-scorer.toml
  edge-scorer run --tag birds --tag \"at night\" --db ~/birds.db ~/camera
SIGTERM and SIGINT stop the daemon after the files in flight, and after nine seconds at the latest; a second signal
stops it at once. SIGHUP reloads the
configuration and the model.
EDGE_SCORER_LOG=debug logs more.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    targets: Targets,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    logging::start(LevelFilter::Info);
    let requests = daemon::install_signals(exit_code::OK).map_err(|e| CommandError::new(exit_code::SOME_FAILED, e))?;
    let load = || arguments.common.settings(&arguments.targets.tags, &arguments.targets.dirs);
    Ok(daemon::run(&load, &requests, &SystemClock::shared())?)
}
