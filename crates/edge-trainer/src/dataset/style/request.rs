//! The request for a style data set, and the summary of a made one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::recipe::{FAULT, LACKING, Recipe, penalty};
use crate::dataset::DataSet;
use crate::render::distortion::Distortion;
use crate::render::style::Style;

/// Request for a style data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StyleRequest {
    /// Source images: a data set that [`crate::dataset::read`] accepts, or a directory of images.
    pub images: String,
    /// Output directory. It must be new or empty.
    pub out: PathBuf,
    /// Seed of every random choice.
    pub seed: u64,
    /// Number of renderings per source image, including the plain one.
    pub renderings: usize,
    /// Number of faults per source image. Each is rendered in all degrees.
    pub faults: usize,
    /// Number of tags per rendering.
    pub tags_per_rendering: usize,
    /// Short side in pixels that larger images are reduced to.
    pub short_px: u32,
    /// Largest number of source images, chosen by the seed; `None` for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Score of every image of a directory; `None` for the middle of the scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_score: Option<f32>,
    /// Lowest and highest score; `None` for the scale of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<(f32, f32)>,
    /// Standard deviation of the simulated rater noise, as a share of the scale.
    pub rater_noise: f32,
    /// Share of the source images in the validation part.
    pub validation_share: f64,
    /// Share of the source images in the test part.
    pub test_share: f64,
    /// Largest allowed share of missing or unreadable source images.
    pub max_bad_fraction: f64,
}

impl Default for StyleRequest {
    /// Empty source and output paths, default values for the rest.
    fn default() -> Self {
        Self {
            images: String::new(),
            out: PathBuf::new(),
            seed: 1,
            renderings: 6,
            faults: 0,
            tags_per_rendering: 4,
            short_px: 512,
            limit: None,
            source_score: None,
            scale: None,
            rater_noise: 0.02,
            validation_share: 0.1,
            test_share: 0.15,
            max_bad_fraction: 0.01,
        }
    }
}

/// Summary of a made style data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MadeStyles {
    /// Number of rendered source images.
    pub sources: usize,
    /// Number of source images that were skipped because they are missing, unreadable or without colour.
    pub skipped: usize,
    /// Number of written images.
    pub images: usize,
    /// Number of rows of the table.
    pub rows: usize,
}

impl StyleRequest {
    /// Returns a description of the first invalid value; `None` if all values are valid.
    pub(super) fn problem(&self) -> Option<String> {
        let most_tags = Style::ALL.len() + 1;
        if !(2..=100).contains(&self.renderings) || !(2..=most_tags).contains(&self.tags_per_rendering) {
            return Some(format!("renderings must be 2 to 100 and tags-per-rendering 2 to {most_tags}"));
        }
        if self.faults > Distortion::ALL.len() {
            return Some(format!("faults must be 0 to {}", Distortion::ALL.len()));
        }
        if !(16..=8192).contains(&self.short_px) || !(0.0..=1.0).contains(&self.rater_noise) {
            return Some("short-px must be 16 to 8192 and rater-noise 0 to 1".to_owned());
        }
        if self.source_score.is_some_and(|s| !s.is_finite()) {
            return Some("source-score must be a number".to_owned());
        }
        let shares = [self.validation_share, self.test_share];
        (!shares.iter().all(|s| (0.0..=0.45).contains(s))).then(|| "the shares must be 0 to 0.45".to_owned())
    }

    /// Returns the recipe of this request for a source data set.
    pub(super) fn recipe(&self, data: &DataSet, scale: (f32, f32)) -> Recipe {
        Recipe {
            source: data.name.clone(),
            source_licence: data.licence.clone(),
            scale,
            unit: format!("{}, less the penalties for styles", data.unit),
            source_notes: data.notes.clone(),
            limit: self.limit,
            seed: self.seed,
            short_px: self.short_px,
            renderings: self.renderings,
            faults: self.faults,
            tags_per_rendering: self.tags_per_rendering,
            validation_share: self.validation_share,
            test_share: self.test_share,
            rater_noise: self.rater_noise,
            lacking: LACKING,
            fault: FAULT,
            penalties: Style::ALL.into_iter().map(|s| (s.tag().to_owned(), penalty(s))).collect(),
        }
    }

    /// Returns the recipe of this request for the source that `made` describes.
    pub(super) fn recipe_of(&self, made: &Recipe) -> Recipe {
        let data = DataSet {
            name: made.source.clone(),
            licence: made.source_licence.clone(),
            notes: made.source_notes.clone(),
            ..DataSet::default()
        };
        Recipe { unit: made.unit.clone(), ..self.recipe(&data, self.scale.unwrap_or(made.scale)) }
    }
}
