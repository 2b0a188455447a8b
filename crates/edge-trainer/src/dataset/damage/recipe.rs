//! The recipe of a damage data set, which is stored beside its table, and the rule that rates the images.

use serde::{Deserialize, Serialize};

/// Name of the recipe's file in the directory of a damage data set.
pub const RECIPE_FILE: &str = "damage.json";
/// Name of the table in the directory of a damage data set.
pub const TABLE_FILE: &str = "table.csv";
/// Place of an undamaged photograph on the scale, 0 to 1: better than most pictures, but not the best that there is.
const UNDAMAGED: f32 = 0.8;
/// Each degree of damage lowers the score by this share of the scale.
const PER_DEGREE: f32 = 0.17;

/// How a damage data set was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DamageRecipe {
    /// Name of the directory of the photographs.
    pub source: String,
    /// Largest number of photographs.
    pub limit: Option<usize>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Kinds of damage of each photograph.
    pub kinds: usize,
    /// Lowest and highest score.
    pub scale: (f32, f32),
}

impl DamageRecipe {
    /// Score of a photograph with damage of `degree`; 0 for none.
    pub fn score(&self, degree: usize) -> f32 {
        let (low, high) = self.scale;
        low + (high - low) * (UNDAMAGED - PER_DEGREE * degree as f32)
    }
}
