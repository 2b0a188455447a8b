//! The style data set: images rendered in photographic styles, each rendering rated under several tags by a stated rule, so
//! that the same pixels have different scores under different tags. Faults in degrees of known order may be among the renderings.
//!
//! This file reads one; [`make()`] makes one.

mod make;
mod readme;
mod recipe;
mod rendering;
mod sources;

use std::path::Path;

pub use make::{MadeStyles, StyleRequest, ensure, make};
pub use recipe::{FAULT, LACKING, NEUTRAL_TAG, Recipe, STRENGTHS, penalty};

use super::{DataError, DataSet, open, table};

/// The table that a maker writes.
pub const TABLE: &str = "ratings.csv";
/// How it was made, for programs. It is written last: a directory without it is no whole data set.
pub const RECIPE: &str = "recipe.json";

/// Whether `dir` looks like the data set.
pub fn recognises(dir: &Path) -> bool {
    dir.join(RECIPE).is_file()
}

/// Reads the table and what the recipe says about it.
pub fn read(dir: &Path) -> Result<DataSet, DataError> {
    let path = dir.join(RECIPE);
    let recipe: Recipe = serde_json::from_reader(std::io::BufReader::new(open(&path)?)).map_err(|e| {
        let reason = format!("not the recipe of a style data set: {e}. Make the data again with make-data style");
        DataError::Table { path, reason }
    })?;
    Ok(DataSet {
        name: format!("styles of {}", recipe.source),
        licence: recipe.source_licence,
        about: format!(
            "Images of {} rendered in photographic styles; each score is computed from the source's and the styles.",
            recipe.source
        ),
        unit: recipe.unit,
        scale: Some(recipe.scale),
        ..table::read(&dir.join(TABLE))?
    })
}
