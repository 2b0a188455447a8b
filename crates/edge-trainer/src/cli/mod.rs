//! The command line of `edge-trainer`: parses arguments, calls the other modules, prints messages and returns exit
//! codes.

mod bench;
mod compare;
mod eval;
mod fit;
mod inspect;
mod make_data;
mod message_printer;
mod option_flags;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use edge_cli::{CommandError, conclude, exit_code, logging, parse, process};

use crate::TrainError;
use crate::backbone::BackboneError;
use crate::dataset::DataError;
use crate::device;
use crate::training::LearnError;

/// Trains the models that edge-scorer scores with.
#[derive(Debug, Parser)]
#[command(name = "edge-trainer", version, max_term_width = 120, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model on rated images and write a proved bundle.
    Fit(Box<fit::FitArguments>),
    /// Judge a bundle on rated images and write the report.
    Eval(eval::EvalArguments),
    /// Judge several bundles on the same images, and methods that need no training.
    Compare(compare::CompareArguments),
    /// Describe a bundle or a run directory; the files of a bundle are checked against their digests.
    Inspect(inspect::InspectArguments),
    /// Time a training step on made-up images.
    Bench(bench::BenchArguments),
    /// Make images and data sets.
    MakeData(make_data::MakeDataArguments),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    process::settle();
    device::keep_kernels_in(&fit::user_cache("kernels"));
    let arguments: Arguments = match parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    logging::start(log::LevelFilter::Warn);
    let outcome = match arguments.command {
        Command::Fit(arguments) => fit::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::MakeData(arguments) => make_data::run(&arguments),
    };
    conclude("edge-trainer", outcome)
}

impl From<TrainError> for CommandError {
    fn from(error: TrainError) -> Self {
        let code = match &error {
            TrainError::Data(DataError::Missing { .. }) => exit_code::NO_INPUT,
            TrainError::Data(DataError::Unrecognised { .. }) => exit_code::USAGE,
            TrainError::Backbone(e) | TrainError::Learn(LearnError::Backbone(e)) => backbone_code(e),
            TrainError::Options(_) | TrainError::Device(_) => exit_code::CONFIG,
            TrainError::Learn(LearnError::NotFinite { .. } | LearnError::Device(_)) => exit_code::CONFIG,
            _ => exit_code::SOME_FAILED,
        };
        Self::new(code, error)
    }
}

fn backbone_code(error: &BackboneError) -> u8 {
    match error {
        BackboneError::Unknown { .. } | BackboneError::Parts { .. } => exit_code::NO_INPUT,
        BackboneError::Config(_) | BackboneError::Weights(_) | BackboneError::Word(_) | BackboneError::File { .. } => {
            exit_code::CONFIG
        }
        BackboneError::Tokenizer(_) | BackboneError::Text(_) | BackboneError::Internal(_) => exit_code::SOME_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn errors_have_their_exit_codes() {
        let code = |e: TrainError| CommandError::from(e).code;
        let missing = DataError::Missing { path: "x".into(), reason: "gone".to_owned() };
        assert_eq!(code(missing.into()), exit_code::NO_INPUT);
        assert_eq!(code(TrainError::Options("x".to_owned())), exit_code::CONFIG);
        assert_eq!(code(TrainError::Internal("x".to_owned())), exit_code::SOME_FAILED);
    }
}
