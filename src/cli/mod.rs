//! The command line of `edge-scorer`, one file per subcommand.

mod bench;
mod config_check;
mod doctor;
mod failures;
mod migrate;
mod options;
mod run;
mod scan;
mod score;
mod status;
mod tags;
mod top;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::decoder;
use crate::prover::Prover;
use edge_cli::{Outcome, conclude, exit_code, parse, process};

/// Scores photographs under text tags and keeps the scores in an SQLite database
#[derive(Debug, Parser)]
#[command(name = "edge-scorer", version, after_help = format!("{EXAMPLES}\n{}", exit_code::HELP))]
struct Arguments<C: Subcommand> {
    #[command(subcommand)]
    command: C,
}

const EXAMPLES: &str = "Examples:
  edge-scorer scan --tag \"a good photo\" ~/Pictures      score the images in a directory
  edge-scorer top --tag \"a good photo\" -n 10            show the ten best
  edge-scorer score --tag sunset --tag birds a.jpg b.jpg  print scores, without a database
  edge-scorer run /var/lib/camera                         score every new image until stopped";

/// Every subcommand.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Public(PublicCommand),
    #[command(flatten)]
    Internal(InternalCommand),
}

#[derive(Debug, Subcommand)]
enum PublicCommand {
    /// Watch directories and score every new image (the daemon)
    Run(run::Arguments),
    /// Score the images in directories, then exit
    Scan(scan::Arguments),
    /// Score images under tags and print the scores, without a database
    Score(score::Arguments),
    /// Show the best images of a tag
    Top(top::Arguments),
    /// List the tags in the database
    Tags(tags::Arguments),
    /// Show the contents of the database and the state of the daemon
    Status(status::Arguments),
    /// List the files that could not be scored, or retry them
    Failures(failures::Arguments),
    /// Check the configuration
    Config(config_check::Arguments),
    /// Check the machine, its GPU, the directories, the database and the model, and advise on every problem
    Doctor(doctor::Arguments),
    /// Measure how fast the model runs on this machine
    Bench(bench::Arguments),
    /// Update the database to this version's schema
    Migrate(migrate::Arguments),
}

/// Subcommands that the program runs itself, in child processes. Help, man pages and completions do not show them.
#[derive(Debug, Subcommand)]
enum InternalCommand {
    /// Decode images for the daemon that started this process
    #[command(name = decoder::Arguments::SUBCOMMAND, hide = true)]
    Decoder(decoder::Arguments),
    /// Test the model for the `doctor` that started this process
    #[command(name = Prover::ARGUMENT, hide = true)]
    Prove(doctor::ProveArguments),
}

/// Returns the description of the command line, without internal subcommands, for man pages and completions.
pub fn command() -> clap::Command {
    Arguments::<PublicCommand>::command()
}

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    process::settle();
    let arguments: Arguments<Command> = match parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let outcome = match arguments.command {
        Command::Public(command) => run_public(&command),
        Command::Internal(InternalCommand::Decoder(arguments)) => decoder::serve(arguments).map_err(Into::into),
        Command::Internal(InternalCommand::Prove(arguments)) => doctor::answer(&arguments),
    };
    conclude("edge-scorer", outcome)
}

fn run_public(command: &PublicCommand) -> Outcome {
    match command {
        PublicCommand::Run(arguments) => run::run(arguments),
        PublicCommand::Scan(arguments) => scan::run(arguments),
        PublicCommand::Score(arguments) => score::run(arguments),
        PublicCommand::Top(arguments) => top::run(arguments),
        PublicCommand::Tags(arguments) => tags::run(arguments),
        PublicCommand::Status(arguments) => status::run(arguments),
        PublicCommand::Failures(arguments) => failures::run(arguments),
        PublicCommand::Config(arguments) => config_check::run(arguments),
        PublicCommand::Doctor(arguments) => doctor::run(arguments),
        PublicCommand::Bench(arguments) => bench::run(arguments),
        PublicCommand::Migrate(arguments) => migrate::run(arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::<Command>::command().debug_assert();
        command().debug_assert();
    }

    #[test]
    fn internal_subcommands_are_parsed_but_not_described() {
        let names = |command: &clap::Command| -> Vec<String> {
            command.get_subcommands().map(|c| c.get_name().to_owned()).collect()
        };
        let (all, described) = (names(&Arguments::<Command>::command()), names(&command()));
        for internal in [decoder::Arguments::SUBCOMMAND, Prover::ARGUMENT] {
            assert!(all.iter().any(|name| name == internal) && !described.iter().any(|name| name == internal));
        }
        assert_eq!(all.len(), described.len() + 2);
    }
}
