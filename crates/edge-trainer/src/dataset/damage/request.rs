//! The request for a damage data set, and the summary of a finished one.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::recipe::DamageRecipe;
use crate::render::damage::Damage;

/// Request for a damage data set. The help texts of the flags of `make-data damage` are the documentation of the fields.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DamageRequest {
    /// A directory of photographs. If it has a file photos.csv with the columns path, names and kinds (several separated
    /// by |), its photographs are rated under these as tags; others are rated under the default tag
    #[arg(long, value_name = "DIR")]
    pub images: PathBuf,
    /// Directory for the data set; it must be empty or not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Use at most this number of photographs, which the seed chooses
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Seed of every random choice
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Kinds of damage of each photograph, each in two degrees
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub kinds: usize,
    /// Lowest and highest score
    #[arg(long, value_name = "LOW,HIGH", value_parser = scale, default_value = "0,5")]
    pub scale: (f32, f32),
    /// Accept a photos.csv that names photographs outside the directory
    #[arg(long)]
    #[serde(skip)]
    pub allow_outside: bool,
}

impl Default for DamageRequest {
    fn default() -> Self {
        Self {
            images: PathBuf::new(),
            out: PathBuf::new(),
            limit: None,
            seed: 1,
            kinds: 2,
            scale: (0.0, 5.0),
            allow_outside: false,
        }
    }
}

impl DamageRequest {
    /// Describes the first unusable option; `None` if all are usable.
    pub fn problem(&self) -> Option<String> {
        let most = Damage::ALL.len();
        if !(1..=most).contains(&self.kinds) {
            return Some(format!("--kinds is {}; it must be 1 to {most}", self.kinds));
        }
        if self.scale.0 >= self.scale.1 {
            return Some(format!("the scale {} to {} is empty", self.scale.0, self.scale.1));
        }
        None
    }

    pub(super) fn recipe(&self) -> DamageRecipe {
        let source = self.images.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let Self { limit, seed, kinds, scale, .. } = *self;
        DamageRecipe { source, limit, seed, kinds, scale }
    }
}

/// Numbers of a finished damage data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MadeDamage {
    /// Photographs that were used.
    pub sources: usize,
    /// Photographs that could not be decoded.
    pub skipped: usize,
    /// Files that were written.
    pub images: usize,
    /// Ratings: rows of the table.
    pub rows: usize,
}

fn scale(text: &str) -> Result<(f32, f32), String> {
    let parsed =
        text.split_once(',').and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
    parsed.ok_or_else(|| format!("{text:?} is not two numbers such as 0,5"))
}
