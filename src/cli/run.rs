//! `edge-scorer run`.

use clap::Args;
use log::LevelFilter;

use super::options::{Common, Targets};
use crate::daemon::{self, Decoders};
use edge_cli::{Failure, Outcome, exit_code, logging};

const EXAMPLES: &str = "Examples:
  edge-scorer run /var/lib/camera
  edge-scorer run --config /etc/edge-scorer/edge-scorer.toml
  edge-scorer run --tag birds --tag \"at night\" --db ~/birds.db ~/camera
SIGTERM and SIGINT finish what is in work and stop, a second one stops at once; SIGHUP reads configuration and model again.
EDGE_SCORER_LOG=debug says more.";

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
    let control = daemon::install_signals().map_err(|e| Failure::new(exit_code::SOME_FAILED, e))?;
    let load = || arguments.common.settings(&arguments.targets.tags, &arguments.targets.dirs);
    Ok(daemon::run(&load, Decoders::Processes, &control)?)
}
