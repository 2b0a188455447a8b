//! Options that several subcommands share, and the exit code of each kind of error.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::{ConfigError, Overrides, Settings};
use crate::daemon::DaemonError;
use crate::store::StoreError;
use edge_cli::{Failure, exit_code};
use edge_model::backend::{DeviceChoice, Precision};
use edge_model::scorer::Scorer;

/// Where configuration, model and database are.
#[derive(Debug, Clone, Args)]
pub(super) struct Common {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Model bundle [default: the shipped one]
    #[arg(long, value_name = "DIR")]
    pub(super) model: Option<PathBuf>,
    /// Database [default: scores.db in the state directory]
    #[arg(long, value_name = "FILE")]
    pub(super) db: Option<PathBuf>,
    /// auto, cpu or cuda [default: auto]
    #[arg(long, value_name = "DEVICE")]
    pub(super) device: Option<DeviceChoice>,
    /// What large products are computed in: f32, f16 (GPUs) or int8 (processors) [default: f32]
    #[arg(long, value_name = "PRECISION")]
    pub(super) precision: Option<Precision>,
}

/// What `run` and `scan` work on.
#[derive(Debug, Clone, Args)]
pub(super) struct Targets {
    /// Score every image under this tag too (repeatable)
    #[arg(long = "tag", value_name = "TEXT")]
    pub(super) tags: Vec<String>,
    /// Directories [default: those of the configuration]
    #[arg(value_name = "DIR")]
    pub(super) dirs: Vec<PathBuf>,
}

/// Formats of listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

impl Common {
    /// The validated settings, with further tags and directories from the command line.
    pub(super) fn settings(&self, tags: &[String], dirs: &[PathBuf]) -> Result<Settings, ConfigError> {
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

    /// The database, for commands that need no model.
    pub(super) fn database(&self) -> Result<PathBuf, ConfigError> {
        // A model that cannot be found must not keep anyone from reading results.
        let anywhere = Self { model: self.model.clone().or_else(|| Some(PathBuf::from("."))), ..self.clone() };
        Ok(anywhere.settings(&[], &[])?.store.path)
    }

    /// The settings and the proved model.
    pub(super) fn scorer(&self) -> Result<(Settings, Scorer), Failure> {
        let settings = self.settings(&[], &[])?;
        let scorer = Scorer::open_in(&settings.model_dir, settings.device, &settings.setup)?;
        Ok((settings, scorer))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let code = match error {
            ConfigError::CommandLine { .. } => exit_code::USAGE,
            ConfigError::Unreadable { .. } => exit_code::NO_INPUT,
            _ => exit_code::CONFIG,
        };
        Self::new(code, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::NotFound { .. } => exit_code::NO_INPUT,
            StoreError::NotADatabase { .. }
            | StoreError::Foreign { .. }
            | StoreError::TooNew { .. }
            | StoreError::NeedsMigration { .. } => exit_code::CONFIG,
            _ => exit_code::SOME_FAILED,
        };
        Self::new(code, error)
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Config(error) => error.into(),
            DaemonError::Scorer(error) => error.into(),
            DaemonError::Store(error) => error.into(),
            DaemonError::NoDirectory { .. } | DaemonError::Scan(_) => Self::new(exit_code::NO_INPUT, error),
            DaemonError::NothingToWatch => Self::new(exit_code::USAGE, error),
            _ => Self::new(exit_code::SOME_FAILED, error),
        }
    }
}
