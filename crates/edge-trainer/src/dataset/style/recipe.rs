//! The recipe of a style data set: its settings, and the rule that rates a rendering under a tag.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::render::style::Style;

/// File name of the table of ratings.
pub const TABLE_FILE: &str = "ratings.csv";
/// File name of the recipe. The recipe is written last: a directory without it is not a complete data set.
pub const RECIPE_FILE: &str = "recipe.json";
/// Quality of the rendered JPEG files, 1 to 100.
pub const JPEG_QUALITY: u8 = 92;
/// Strengths at which a style is rendered; 1 is full strength.
pub const STRENGTHS: [f32; 3] = [0.4, 0.7, 1.0];
/// Tag that asks for no style.
pub const NEUTRAL_TAG: &str = "photograph";
/// Penalty of a rendering that lacks the style of the tag, as a share of the scale.
pub const LACKING: f32 = 0.25;
/// Penalty for each degree of a fault, as a share of the scale. It is the same under all tags.
pub const FAULT: f32 = 0.12;

/// Returns the penalty of a style at full strength under a tag that does not ask for it, as a share of the scale.
pub fn penalty(style: Style) -> f32 {
    match style {
        Style::BlackAndWhite | Style::Vignette => 0.15,
        Style::Duotone | Style::Hdr | Style::SoftFocus => 0.2,
        Style::HighKey | Style::LowKey | Style::ImageGrain => 0.25,
        Style::Silhouette => 0.3,
        Style::MotionBlur => 0.35,
        Style::NegativeImage => 0.4,
    }
}

/// Settings that a style data set was made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the source data set or directory.
    pub source: String,
    /// Licence of the source, which also applies to the renderings.
    pub source_licence: String,
    /// Lowest and highest score of the source's scale.
    pub scale: (f32, f32),
    /// Description of the unit of the scores.
    pub unit: String,
    /// Notes of the reader of the source: rows that were left out, or the score that unrated images were given.
    pub source_notes: Vec<String>,
    /// Largest number of source images; `None` for no limit.
    pub limit: Option<usize>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Short side in pixels that larger images are reduced to.
    pub short_px: u32,
    /// Number of renderings per source image, including the plain one.
    pub renderings: usize,
    /// Number of faults per source image. Each is rendered in all degrees.
    #[serde(default)]
    pub faults: usize,
    /// Number of tags per rendering.
    pub tags_per_rendering: usize,
    /// Share of the source images in the validation part.
    pub validation_share: f64,
    /// Share of the source images in the test part.
    pub test_share: f64,
    /// Standard deviation of the simulated rater noise, as a share of the scale's range.
    pub rater_noise: f32,
    /// Value of [`LACKING`] when the data set was made.
    pub lacking: f32,
    /// Value of [`FAULT`] when the data set was made.
    #[serde(default)]
    pub fault: f32,
    /// The [`penalty`] of each style when the data set was made, by the style's tag.
    pub penalties: BTreeMap<String, f32>,
}

impl Recipe {
    /// Returns the score of a rendering in `styles` with a fault of `degree`. `tag` is the style that the tag asks for,
    /// `None` for the neutral tag. `source` is the score of the source image, `noise` a normally distributed number
    /// with a standard deviation of 1.
    pub fn score(&self, source: f32, styles: &[(Style, f32)], degree: usize, tag: Option<Style>, noise: f32) -> f32 {
        let (low, high) = self.scale;
        let unasked: f32 = styles
            .iter()
            .filter(|(style, _)| Some(*style) != tag)
            .map(|(style, strength)| penalty(*style) * strength)
            .sum();
        let lacks = tag.is_some_and(|tag| styles.iter().all(|(style, _)| *style != tag));
        let lost = unasked + if lacks { LACKING } else { 0.0 } + FAULT * degree as f32;
        (source + (high - low) * (self.rater_noise * noise - lost)).clamp(low, high)
    }
}

#[cfg(test)]
pub(super) fn example() -> Recipe {
    Recipe {
        source: "photos".to_owned(),
        source_licence: "MIT".to_owned(),
        scale: (1.0, 10.0),
        unit: "points".to_owned(),
        source_notes: Vec::new(),
        limit: None,
        seed: 1,
        short_px: 512,
        renderings: 6,
        faults: 1,
        tags_per_rendering: 4,
        validation_share: 0.1,
        test_share: 0.15,
        rater_noise: 0.02,
        lacking: LACKING,
        fault: FAULT,
        penalties: Style::ALL.into_iter().map(|s| (s.tag().to_owned(), penalty(s))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendering_is_best_under_the_tag_that_asks_for_it() {
        let recipe = example();
        let blurred = [(Style::MotionBlur, 0.7)];
        let score = |tag| recipe.score(8.0, &blurred, 0, tag, 0.0);
        assert_eq!(score(Some(Style::MotionBlur)), 8.0);
        assert!((score(None) - (8.0 - 9.0 * 0.35 * 0.7)).abs() < 1e-5);
        assert!((score(Some(Style::Duotone)) - (8.0 - 9.0 * (0.35 * 0.7 + LACKING))).abs() < 1e-5);
        assert!((recipe.score(8.0, &[], 0, Some(Style::Duotone), 0.0) - (8.0 - 9.0 * LACKING)).abs() < 1e-5);
        let both = [(Style::Duotone, 1.0), (Style::Vignette, 0.4)];
        assert!((recipe.score(8.0, &both, 0, Some(Style::Duotone), 0.0) - (8.0 - 9.0 * 0.06)).abs() < 1e-5);
        assert_eq!(recipe.score(1.2, &[(Style::NegativeImage, 1.0)], 0, None, 0.0), 1.0);
        assert!((recipe.score(5.0, &[], 0, None, 1.0) - 5.18).abs() < 1e-5);
        let faulty = [None, Some(Style::Duotone)].map(|tag| recipe.score(8.0, &[], 2, tag, 0.0));
        assert!((faulty[0] - (8.0 - 9.0 * 0.24)).abs() < 1e-5 && (faulty[0] - faulty[1] - 9.0 * LACKING).abs() < 1e-5);
    }
}
