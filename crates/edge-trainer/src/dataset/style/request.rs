//! The request for a style data set, and the summary of a finished style data set.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::recipe::{FAULT, LACKING, Recipe, penalty};
use crate::dataset::DataSet;
use crate::render::distortion::Distortion;
use crate::render::style::Style;

/// Request for a style data set. The help texts of the flags of `make-data style` are the documentation of the fields.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StyleRequest {
    /// The source images: ava:DIR, agiqa:DIR, table:FILE, or a directory of images, which all get the same score
    #[arg(long, value_name = "SPEC")]
    pub images: String,
    /// Directory for the data set; it must be new or empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Seed of every random choice
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Number of renderings per source image, including the unchanged one
    #[arg(long, value_name = "N", default_value_t = StyleRequest::default().renderings)]
    pub renderings: usize,
    /// Number of faults per source image (JPEG artefacts, defocus, noise, ...), each rendered in three degrees
    #[arg(long, value_name = "N", default_value_t = StyleRequest::default().faults)]
    pub faults: usize,
    /// Number of tags under which each rendering is rated: its own styles, then the neutral tag, then other styles
    #[arg(long, value_name = "N", default_value_t = StyleRequest::default().tags_per_rendering)]
    pub tags_per_rendering: usize,
    /// Short side to which larger images are reduced, in pixels
    #[arg(long, value_name = "PX", default_value_t = StyleRequest::default().short_px)]
    pub short_px: u32,
    /// Largest number of source images; the seed chooses them
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Score of every image in a directory of images [default: the middle of the scale]
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_score: Option<f32>,
    /// Range of the scores [default: the data set's range; 1,10 for a directory]
    #[arg(long, value_name = "LOW,HIGH", value_parser = parse_scale, allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<(f32, f32)>,
    /// Standard deviation of the simulated rater noise, as a share of the scale
    #[arg(long, value_name = "SHARE", default_value_t = StyleRequest::default().rater_noise)]
    pub rater_noise: f32,
    /// Share of the source images for validation
    #[arg(long, value_name = "SHARE", default_value_t = StyleRequest::default().validation_share)]
    pub validation_share: f64,
    /// Share of the source images for the test
    #[arg(long, value_name = "SHARE", default_value_t = StyleRequest::default().test_share)]
    pub test_share: f64,
    /// Largest accepted share of missing or unreadable source images
    #[arg(long, value_name = "SHARE", default_value_t = StyleRequest::default().max_bad_fraction)]
    pub max_bad_fraction: f64,
    /// Accept a data set that names images outside its own directory
    #[arg(long)]
    #[serde(skip)]
    pub allow_outside: bool,
}

fn parse_scale(text: &str) -> Result<(f32, f32), String> {
    let numbers =
        text.split_once(',').and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
    let finite = numbers.filter(|(low, high): &(f32, f32)| low.is_finite() && high.is_finite() && low < high);
    finite.ok_or_else(|| "give the lowest and the highest score, such as 1,10".to_owned())
}

impl Default for StyleRequest {
    /// Returns a request with empty source and output paths and default values for all other fields.
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
            allow_outside: false,
        }
    }
}

/// Summary of a finished style data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MadeStyles {
    /// Number of rendered source images.
    pub sources: usize,
    /// Number of source images that were skipped because they are missing, unreadable or without colour.
    pub skipped: usize,
    /// Number of renderings that were written.
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

    /// Returns the recipe of this request for the source data set that the recipe `made` describes.
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
