//! The README of a style data set.

use std::fmt::Write;

use super::MadeStyles;
use super::make::JPEG_QUALITY;
use super::recipe::{FAULT, LACKING, NEUTRAL_TAG, Recipe, STRENGTHS, penalty};
use crate::dataset::DataSet;
use crate::render::distortion::{DEGREES, Distortion};
use crate::render::style::Style;

/// Recipe, penalties and licence, for people.
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
    let limit = recipe.limit.map_or_else(String::new, |n| format!("; {n} source images at most, drawn by it"));
    let names = Distortion::ALL.map(Distortion::name).join(", ");
    let faulty = match faults {
        0 => String::new(),
        n => format!("- Then {n} of these faults, as drawn, each in {DEGREES} degrees: {names}.\n"),
    };
    format!(
        "# Styles of {name}

{sources} source images ({skipped} could not be used), {images} renderings, {rows} ratings. Made by `edge-trainer make-data style`;
`recipe.json` holds the same for programs.

## How it was made

{notes}- Seed {seed}{limit}. Images with a short side of more than {short_px} px are reduced to it; JPEG quality {JPEG_QUALITY}.
- Every source image is rendered {renderings} times: once as it is, then in the styles below in a drawn order, each at a drawn
  strength of {strengths}. Every third rendering combines a style of tone with one of lens or film.
{faulty}- Every rendering is listed under {tags_per_rendering} tags: its own styles, the neutral tag `{NEUTRAL_TAG}`, and other styles as drawn.
- The parts are divided by the source images' groups (column `group`): {validation_share} for validation, {test_share} for the test.
- The column `condition` says what was rendered: `plain`, style and strength, or fault and degree.

## How it is rated

On a scale of {low} to {high}: the source's own score; less, for every style in the rendering that the tag does not ask for, the
points of this table times the strength; less {fault:.2} for each degree of a fault, whatever the tag; less {lacking:.2} when the tag asks for a style that the rendering lacks; plus the raters'
noise, normal with a deviation of {noise:.3}; cut off at the ends of the scale. So the same pixels have different scores under
different tags. A source that happens to look like a style counts as lacking it; sources without colour are left out.

| style | points at full strength |
| --- | --- |
{penalties}
## Licence

The renderings are derived from {name}, whose licence is: {licence}. They stay under it. About the source: {about}
",
        name = recipe.source,
        lacking = LACKING * (high - low),
        fault = FAULT * (high - low),
        licence = recipe.source_licence,
        about = data.about,
    )
}
