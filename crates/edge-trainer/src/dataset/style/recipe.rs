//! The rule that rates a rendering under a tag.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::render::style::Style;

/// How strongly a style is rendered.
pub const STRENGTHS: [f32; 3] = [0.4, 0.7, 1.0];
/// The tag that asks for no style.
pub const NEUTRAL_TAG: &str = "photograph";
/// What a rendering loses under a tag whose style it lacks, as a share of the scale.
pub const LACKING: f32 = 0.25;

/// What a rendering loses for each degree of a fault, whatever the tag, as a share of the scale.
pub const FAULT: f32 = 0.12;

/// What a rendering loses at full strength under a tag that does not ask for the style, as a share of the scale.
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

/// How a style data set was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the data set or directory that the images come from.
    pub source: String,
    /// Its licence, which the renderings stay under.
    pub source_licence: String,
    /// Range of the scores.
    pub scale: (f32, f32),
    /// What one unit of the scores is, in words.
    pub unit: String,
    /// What the reading of the source had to say: what was left out, or which score unrated images were given.
    pub source_notes: Vec<String>,
    /// Most source images to use, where there is a limit.
    pub limit: Option<usize>,
    /// Seed of every random choice.
    pub seed: u64,
    /// Short side that larger images are reduced to, in pixels.
    pub short_px: u32,
    /// Renderings per source image, the plain one included.
    pub renderings: usize,
    /// Faults that each source image is also rendered with, each in all its degrees.
    #[serde(default)]
    pub faults: usize,
    /// Tags that each rendering is listed under.
    pub tags_per_rendering: usize,
    /// Share of the source images for validation.
    pub validation_share: f64,
    /// Share of the source images for the test.
    pub test_share: f64,
    /// Standard deviation of the raters' noise, as a share of the scale.
    pub rater_noise: f32,
    /// [`LACKING`] as it was.
    pub lacking: f32,
    /// [`FAULT`] as it was.
    #[serde(default)]
    pub fault: f32,
    /// [`penalty`] as it was, by tag.
    pub penalties: BTreeMap<String, f32>,
}

impl Recipe {
    /// The score of a rendering, given its styles and the degree of its fault, under the tag of a style, or under the neutral one.
    /// `source` is the source image's score, `noise` a draw of unit deviation.
    pub fn score(
        &self,
        source: f32,
        (styles, degree): (&[(Style, f32)], usize),
        tag: Option<Style>,
        noise: f32,
    ) -> f32 {
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
        let score = |tag| recipe.score(8.0, (&blurred, 0), tag, 0.0);
        assert_eq!(score(Some(Style::MotionBlur)), 8.0);
        assert!((score(None) - (8.0 - 9.0 * 0.35 * 0.7)).abs() < 1e-5);
        assert!((score(Some(Style::Duotone)) - (8.0 - 9.0 * (0.35 * 0.7 + LACKING))).abs() < 1e-5);
        assert!((recipe.score(8.0, (&[], 0), Some(Style::Duotone), 0.0) - (8.0 - 9.0 * LACKING)).abs() < 1e-5);
        let both = [(Style::Duotone, 1.0), (Style::Vignette, 0.4)];
        assert!((recipe.score(8.0, (&both, 0), Some(Style::Duotone), 0.0) - (8.0 - 9.0 * 0.06)).abs() < 1e-5);
        assert_eq!(recipe.score(1.2, (&[(Style::NegativeImage, 1.0)], 0), None, 0.0), 1.0);
        assert!((recipe.score(5.0, (&[], 0), None, 1.0) - 5.18).abs() < 1e-5);
        let faulty = [None, Some(Style::Duotone)].map(|tag| recipe.score(8.0, (&[], 2), tag, 0.0));
        assert!((faulty[0] - (8.0 - 9.0 * 0.24)).abs() < 1e-5 && (faulty[0] - faulty[1] - 9.0 * LACKING).abs() < 1e-5);
    }
}
