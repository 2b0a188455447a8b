//! Reads a damage data set.

use std::path::Path;

use super::recipe::{DamageRecipe, RECIPE_FILE, TABLE_FILE};
use crate::dataset::{DataError, DataSet, table};

/// Returns whether `dir` contains a complete damage data set.
pub fn recognises(dir: &Path) -> bool {
    dir.join(RECIPE_FILE).is_file()
}

/// Reads a damage data set: the examples from its table, name and scale from its recipe.
pub fn read(dir: &Path) -> Result<DataSet, DataError> {
    let path = dir.join(RECIPE_FILE);
    let bytes = std::fs::read(&path).map_err(DataError::missing(&path))?;
    let recipe: DamageRecipe = serde_json::from_slice(&bytes).map_err(|e| {
        let reason = format!("not the recipe of a damage data set: {e}. Make the data set again with make-data damage");
        DataError::Table { path, reason }
    })?;
    Ok(DataSet {
        name: format!("damaged {}", recipe.source),
        licence: "unknown".to_owned(),
        about: format!(
            "Photographs of {} and damaged copies of them; each score is computed from the degree of the damage.",
            recipe.source
        ),
        unit: "points".to_owned(),
        scale: Some(recipe.scale),
        ..table::read(&dir.join(TABLE_FILE))?
    })
}
