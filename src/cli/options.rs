//! Options that several subcommands share, and the exit code of each error.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, ValueHint};

use crate::config::{ConfigError, Overrides, Settings};
use crate::daemon::DaemonError;
use crate::store::StoreError;
use edge_cli::{CommandError, exit_code};
use edge_model::backend::{DeviceChoice, Precision};
use edge_model::scorer::Scorer;

/// Configuration, model and database.
#[derive(Debug, Clone, Args)]
pub(super) struct Common {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Model bundle [default: the shipped one]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    model: Option<PathBuf>,
    /// Database [default: scores.db in the state directory]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    db: Option<PathBuf>,
    /// Device that runs the model [default: auto]
    #[arg(long, value_name = "DEVICE", value_parser = device_parser())]
    device: Option<DeviceChoice>,
    /// Precision of large products [default: f32]
    #[arg(long, value_name = "PRECISION", value_parser = precision_parser())]
    precision: Option<Precision>,
}

fn device_parser() -> impl TypedValueParser<Value = DeviceChoice> {
    let values = [
        PossibleValue::new("auto").help("CUDA if the model's goldens come out right there, else the CPU"),
        PossibleValue::new("cpu").help("The CPU"),
        PossibleValue::new("cuda").help("CUDA; an error if it cannot be used"),
    ];
    PossibleValuesParser::new(values).try_map(|name| name.parse::<DeviceChoice>())
}

fn precision_parser() -> impl TypedValueParser<Value = Precision> {
    let values = [
        PossibleValue::new("f32").help("32-bit floating point, on every device"),
        PossibleValue::new("f16").help("16-bit floating point, on GPUs"),
        PossibleValue::new("int8").help("8-bit integers, on x86 processors with VNNI"),
    ];
    PossibleValuesParser::new(values).try_map(|name| name.parse::<Precision>())
}

/// Tags and directories of `run` and `scan`.
#[derive(Debug, Clone, Args)]
pub(super) struct Targets {
    /// Score every image under this tag in addition to the configured tags (repeatable)
    #[arg(long = "tag", value_name = "TEXT", value_hint = ValueHint::Other)]
    pub(super) tags: Vec<String>,
    /// Directories [default: those of the configuration]
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) dirs: Vec<PathBuf>,
}

/// The output format of a subcommand that prints a list.
#[derive(Debug, Clone, Args)]
pub(super) struct ListOutput {
    /// Output format
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(super) format: ListFormat,
}

/// Output formats of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

impl Common {
    /// Loads the settings for a command that needs a model, with further tags and directories from the command line.
    pub(super) fn settings(&self, tags: &[String], dirs: &[PathBuf]) -> Result<Settings, ConfigError> {
        let settings = self.load(tags, dirs)?;
        settings.model_dir()?;
        Ok(settings)
    }

    /// Returns the database's path, for a command that needs no model. The configuration is validated all the same.
    pub(super) fn database(&self) -> Result<PathBuf, ConfigError> {
        Ok(self.load(&[], &[])?.store.path)
    }

    /// Loads the settings and the model, which replays its goldens.
    pub(super) fn scorer(&self) -> Result<(Settings, Scorer), CommandError> {
        let settings = self.load(&[], &[])?;
        let scorer = Scorer::open_in(settings.model_dir()?, settings.device, &settings.backend)?;
        Ok((settings, scorer))
    }

    fn load(&self, tags: &[String], dirs: &[PathBuf]) -> Result<Settings, ConfigError> {
        let overrides = Overrides {
            model: self.model.clone(),
            device: self.device,
            precision: self.precision,
            db: self.db.clone(),
            tags: tags.to_vec(),
            dirs: dirs.to_vec(),
        };
        Settings::load(self.config.as_deref(), &overrides)
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        let code = match error {
            ConfigError::CommandLine { .. } => exit_code::USAGE,
            ConfigError::Unreadable { .. } => exit_code::NO_INPUT,
            _ => exit_code::CONFIG,
        };
        Self::new(code, error)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::NotFound { .. } => exit_code::NO_INPUT,
            StoreError::NotADatabase { .. }
            | StoreError::Foreign { .. }
            | StoreError::ForeignSchema { .. }
            | StoreError::Link { .. }
            | StoreError::TooNew { .. }
            | StoreError::NeedsMigration { .. } => exit_code::CONFIG,
            _ => exit_code::SOME_FAILED,
        };
        Self::new(code, error)
    }
}

impl From<DaemonError> for CommandError {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Config(error) => error.into(),
            DaemonError::Scorer(error) => error.into(),
            DaemonError::Store(error) => error.into(),
            DaemonError::NoDirectory { .. } | DaemonError::Scan(_) => Self::new(exit_code::NO_INPUT, error),
            DaemonError::NothingToWatch => Self::new(exit_code::USAGE, error),
            DaemonError::Refused(_) => Self::new(exit_code::CONFIG, error),
            DaemonError::Trial { ref source, .. } => {
                let code = if source.may_pass() { exit_code::SOME_FAILED } else { exit_code::CONFIG };
                Self::new(code, error)
            }
            _ => Self::new(exit_code::SOME_FAILED, error),
        }
    }
}
