//! Shared parts of the command lines of `edge-scorer` and `edge-trainer`: exit codes, output formats, logging, progress and the stop
//! flag. The libraries return typed errors; [`CommandError`] turns them into a message and an exit code.

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

/// The error of a subcommand: an exit code and a message for the user.
#[derive(Debug)]
pub struct CommandError {
    /// Exit code of the process, one of [`exit_code`].
    pub code: u8,
    /// The message for the user; empty if the failure was printed already.
    pub message: String,
}

impl CommandError {
    /// Creates an error with a message.
    pub fn new(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// Creates an error without a message, for failures that were printed where they happened.
    pub fn reported() -> Self {
        Self { code: exit_code::SOME_FAILED, message: String::new() }
    }
}

impl From<BundleError> for CommandError {
    fn from(error: BundleError) -> Self {
        Self::new(exit_code::CONFIG, error)
    }
}

impl From<ScorerError> for CommandError {
    fn from(error: ScorerError) -> Self {
        let code = match &error {
            // The tag is wrong. All other text errors come from the bundle's tokenizer.
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

impl From<std::fmt::Error> for CommandError {
    fn from(error: std::fmt::Error) -> Self {
        Self::new(exit_code::SOME_FAILED, error)
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        // A reader that closes the pipe early, such as `head`, is not an error.
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self { code: exit_code::OK, message: String::new() },
            _ => Self::new(exit_code::SOME_FAILED, error),
        }
    }
}

/// The result of a subcommand.
pub type Outcome = Result<(), CommandError>;

/// Prints the error's message, if there is one, and returns the exit code of the process.
pub fn conclude(program: &str, outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::from(exit_code::OK),
        Err(error) => {
            if !error.message.is_empty() {
                // The TOML parser's messages have several lines. Each line is escaped by itself, so that the line breaks stay.
                let lines: Vec<_> = error.message.lines().map(output::printable).collect();
                eprintln!("{program}: {}", lines.join("\n"));
            }
            ExitCode::from(error.code)
        }
    }
}

/// Parses the command line.
///
/// # Errors
/// Returns the exit code if the process has nothing more to do. Help and version are printed to stdout, with [`exit_code::OK`]. A wrong
/// command line is reported on stderr, with [`exit_code::USAGE`].
pub fn parse<P: clap::Parser>() -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| {
        let code = if error.use_stderr() { exit_code::USAGE } else { exit_code::OK };
        // If stdout and stderr are closed, the failure cannot be reported.
        let _ = error.print();
        ExitCode::from(code)
    })
}
