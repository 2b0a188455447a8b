//! The options that `eval` and `compare` share.

use clap::Args;
use edge_model::backend::DeviceChoice;

use super::figures::Bootstrap;

/// Options of an evaluation and of a comparison. The help texts of the flags are the documentation of the fields.
#[derive(Debug, Clone, Args)]
pub struct JudgeOptions {
    /// Seed of the bootstrap and of the shuffled tags [default: the seed of the bundle's training]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Number of bootstrap replicates
    #[arg(long = "bootstrap", value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..))]
    pub replicates: u32,
    /// Largest accepted share of missing or unreadable images
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub max_bad_fraction: f64,
    /// Accept a data set that names images outside its own directory
    #[arg(long)]
    pub allow_outside: bool,
    /// Device for the scoring
    #[arg(long, value_name = "auto|cpu|cuda", default_value = "auto")]
    pub device: DeviceChoice,
}

impl JudgeOptions {
    /// Returns the settings of the bootstrap. The default seed is `training_seed`, the seed of the bundle's training.
    pub(super) fn bootstrap(&self, training_seed: u64) -> Bootstrap {
        Bootstrap::new(self.replicates as usize, self.seed.unwrap_or(training_seed))
    }
}
