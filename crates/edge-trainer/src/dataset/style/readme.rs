//! Writes the README of a style data set.

use std::fmt::Write;

use super::recipe::{FAULT, JPEG_QUALITY, LACKING, NEUTRAL_TAG, Recipe, STRENGTHS, penalty};
use super::request::MadeStyles;
use crate::dataset::DataSet;
use crate::render::distortion::{DEGREES, Distortion};
use crate::render::style::Style;

/// Returns the README: recipe, penalties and licence.
pub fn text(recipe: &Recipe, data: &DataSet, made: MadeStyles) -> String {
    let Recipe { seed, short_px, renderings, faults, tags_per_rendering, validation_share, test_share, .. } = recipe;
    let MadeStyles { sources, skipped, images, rows } = made;
    let (low, high) = recipe.scale;
    let noise = recipe.rater_noise * (high - low);
    let strengths = STRENGTHS.map(|s| s.to_string()).join(", ");
    let penalties = Style::ALL.iter().fold(String::new(), |mut out, style| {
        let points = penalty(*style) * (high - low);
        let _ = writeln!(out, "| {} | {points:.2} |", style.tag());
        out
    });
    let notes = recipe.source_notes.iter().fold(String::new(), |out, text| format!("{out}- Of the source: {text}.\n"));
    let limit = recipe.limit.map_or_else(String::new, |n| format!("; at most {n} source images, drawn by the seed"));
    let names = Distortion::ALL.map(Distortion::name).join(", ");
    let faulty = match faults {
        0 => String::new(),
        n => format!(
            "- Every source image is also rendered with {n} drawn faults, each in {DEGREES} degrees. The faults are: {names}.\n"
        ),
    };
    format!(
        "# Styles of {name}

{sources} source images ({skipped} more could not be used), {images} renderings, {rows} ratings.
Made by `edge-trainer make-data style`. `recipe.json` holds the settings.

## How it was made

{notes}- Seed {seed}{limit}. Images with a short side of more than {short_px} px are reduced to a short side
  of {short_px} px; JPEG quality {JPEG_QUALITY}.
- Every source image is rendered {renderings} times: once unchanged, then in the styles below in a drawn order,
  each at a drawn strength of {strengths}. Every third rendering combines a tonal style with an optical one (lens or film).
{faulty}- Every rendering is listed under {tags_per_rendering} tags: its own styles, the neutral tag `{NEUTRAL_TAG}`, and
  other drawn styles.
- The parts are divided by the groups of the source images (column `group`): {validation_share} for validation,
  {test_share} for the test.
- The column `condition` holds `plain`, style and strength, or fault and degree.

## How it is rated

The score lies on a scale of {low} to {high}. It is the score of the source image,

- less, for every style of the rendering that the tag does not name, the points of the table below times the strength,
- less {fault:.2} for each degree of a fault, under every tag,
- less {lacking:.2} when the tag asks for a style that the rendering lacks,
- plus simulated rater noise, normal with a standard deviation of {noise:.3},

clamped to the scale. So the same pixels have different scores under different tags. A source image that already looks
like a style still counts as lacking it. Source images without colour are left out.

| style | points at full strength |
| --- | --- |
{penalties}
## Licence

The renderings are derived from {name}, whose licence is: {licence}. The same licence applies to them.
About the source: {about}
",
        name = recipe.source,
        lacking = LACKING * (high - low),
        fault = FAULT * (high - low),
        licence = recipe.source_licence,
        about = data.about,
    )
}
