//! `edge-scorer`: one file per subcommand.

mod bench;
mod config_check;
mod doctor;
mod failures;
mod options;
mod run;
mod scan;
mod score;
mod status;
mod tags;
mod top;

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::daemon::{Decoders, serve_decoder};
use crate::doctor::Prover;
use edge_cli::{Outcome, conclude, parse, process};
use options::Common;

/// Scores photographs under text tags and keeps the scores in SQLite.
#[derive(Debug, Parser)]
#[command(name = "edge-scorer", version, about, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  edge-scorer scan --tag \"a good photo\" ~/Pictures      score what is there
  edge-scorer top --tag \"a good photo\" -n 10            the best of it
  edge-scorer score --tag sunset --tag birds a.jpg b.jpg  scores at once, no database
  edge-scorer run /var/lib/camera                         score whatever arrives, until stopped
Exit codes: 0 all done, 1 something failed, 64 usage, 66 input missing, 78 configuration or bundle refused.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch directories and score every new image (the daemon)
    Run(run::Arguments),
    /// Score what is in directories, then exit
    Scan(scan::Arguments),
    /// Score images under tags and print the scores, without a database
    Score(score::Arguments),
    /// Show the best images of a tag
    Top(top::Arguments),
    /// List the tags in the database
    Tags(tags::Arguments),
    /// Show what the database holds
    Status(status::Arguments),
    /// List the files that could not be scored, or have them tried again
    Failures(failures::Arguments),
    /// Work with the configuration
    Config(config_check::Arguments),
    /// Look at this machine, its GPU, the directories, the database and the model, and say what is wrong and what to do
    Doctor(doctor::Arguments),
    /// Time the model on this machine's devices
    Bench(bench::Arguments),
    /// Bring the database to this version's schema
    Migrate(Common),
    /// Decode for a daemon that has started this process
    #[command(name = Decoders::ARGUMENT, hide = true)]
    Decoder,
    /// Prove the model for `doctor`, which has started this process
    #[command(name = Prover::ARGUMENT, hide = true)]
    Prove(doctor::ProveArguments),
}

/// The command line as a description, for man pages and completions.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the program.
pub fn main() -> ExitCode {
    process::settle();
    let arguments: Arguments = match parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let outcome = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Scan(arguments) => scan::run(&arguments),
        Command::Score(arguments) => score::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Tags(arguments) => tags::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Failures(arguments) => failures::run(&arguments),
        Command::Config(arguments) => config_check::run(&arguments),
        Command::Migrate(common) => migrate(&common),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Prove(arguments) => doctor::answer(&arguments),
        Command::Decoder => serve_decoder().map_err(Into::into),
    };
    conclude("edge-scorer", outcome)
}

fn migrate(common: &Common) -> Outcome {
    let path = common.database()?;
    if !path.exists() {
        return Err(crate::store::StoreError::NotFound { path }.into());
    }
    let store = crate::store::Store::open(&path)?;
    match store.migrated_from() {
        Some(from) => {
            writeln!(stdout(), "{}: schema version {from} -> {}", path.display(), crate::store::SCHEMA_VERSION)?
        }
        None => writeln!(stdout(), "{}: schema version {} already", path.display(), crate::store::SCHEMA_VERSION)?,
    }
    Ok(())
}
