//! Reads a style data set.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::recipe::{RECIPE_FILE, Recipe, TABLE_FILE};
use crate::dataset::{DataError, DataSet, table};

/// Returns whether `dir` contains a complete style data set.
pub fn recognises(dir: &Path) -> bool {
    dir.join(RECIPE_FILE).is_file()
}

/// Reads a style data set: the examples from its table, name, licence and scale from its recipe.
pub fn read(dir: &Path) -> Result<DataSet, DataError> {
    let path = dir.join(RECIPE_FILE);
    let file = File::open(&path).map_err(DataError::missing(&path))?;
    let recipe: Recipe = serde_json::from_reader(BufReader::new(file)).map_err(|e| {
        let reason = format!("not the recipe of a style data set: {e}. Make the data set again with make-data style");
        DataError::Table { path, reason }
    })?;
    Ok(DataSet {
        name: format!("styles of {}", recipe.source),
        licence: recipe.source_licence,
        about: format!(
            "Images of {} rendered in photographic styles; each score is computed from the score of the source image \
             and the styles.",
            recipe.source
        ),
        unit: recipe.unit,
        scale: Some(recipe.scale),
        ..table::read(&dir.join(TABLE_FILE))?
    })
}
