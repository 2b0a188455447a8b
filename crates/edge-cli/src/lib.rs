//! What the command lines of `edge-scorer` and `edge-trainer` share: exit codes, output formats, logging, progress, the stop flag.
//! Errors are typed in the libraries below and become a message and an exit code here.

pub mod exit_code;
pub mod logging;
pub mod output;
pub mod process;
pub mod progress;
mod stop_flag;

use std::fmt::Display;
use std::process::ExitCode;

use edge_model::bundle::BundleError;
use edge_model::scorer::ScorerError;
use edge_model::text::TextError;

pub use stop_flag::stop_flag;

/// Why a command ends early: an exit code of [`exit_code`] and what to tell the user.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// The message; empty when everything has been said already.
    pub message: String,
}

impl Failure {
    /// A failure with a message.
    pub fn new(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// Something failed and was reported where it happened.
    pub fn reported() -> Self {
        Self { code: exit_code::SOME_FAILED, message: String::new() }
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        Self::new(exit_code::CONFIG, error)
    }
}

impl From<ScorerError> for Failure {
    fn from(error: ScorerError) -> Self {
        let code = match &error {
            // A tag; a tokenizer that cannot be used is the bundle's fault.
            ScorerError::Text(TextError::Empty | TextError::TooLong { .. } | TextError::Encode { .. }) => {
                exit_code::USAGE
            }
            ScorerError::Backend(error) if error.may_pass() => exit_code::SOME_FAILED,
            ScorerError::DeviceFailed { .. } => exit_code::SOME_FAILED,
            _ => exit_code::CONFIG,
        };
        Self::new(code, error)
    }
}

impl From<std::fmt::Error> for Failure {
    fn from(error: std::fmt::Error) -> Self {
        Self::new(exit_code::SOME_FAILED, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // A reader that has seen enough, such as `head`, is no failure.
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self { code: exit_code::OK, message: String::new() },
            _ => Self::new(exit_code::SOME_FAILED, error),
        }
    }
}

/// What every subcommand returns.
pub type Outcome = Result<(), Failure>;

/// Turns a subcommand's result into the process's exit code and prints what is left to say.
pub fn conclude(program: &str, outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::from(exit_code::OK),
        Err(failure) => {
            if !failure.message.is_empty() {
                // Messages of the TOML parser have several lines, each of which is made safe by itself.
                let lines: Vec<_> = failure.message.lines().map(output::printable).collect();
                eprintln!("{program}: {}", lines.join("\n"));
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Parses the command line; help and version go to stdout with 0, mistakes to stderr with the usage code.
pub fn parse<P: clap::Parser>() -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| {
        let code = if error.use_stderr() { exit_code::USAGE } else { exit_code::OK };
        // A closed terminal is no reason to fail once more.
        let _ = error.print();
        ExitCode::from(code)
    })
}
