//! The random choices for one source image: its renderings, and the tags of each.

use image::{ImageResult, RgbImage};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::recipe::STRENGTHS;
use crate::render::distortion::{DEGREES, Distortion, distort};
use crate::render::style::{Style, render};

/// A rendering whose number is a multiple of this constant combines a tonal and an optical style.
const COMBINED_EVERY: usize = 3;

/// One rendering of a source image.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rendering {
    /// The image in styles, each with its strength (0 to 1). Without styles the image is unchanged.
    Styled(Vec<(Style, f32)>),
    /// The image with a fault and its degree.
    Faulty(Distortion, usize),
}

impl Rendering {
    /// Draws the renderings of a source image: first `styled` renderings in styles, then renderings with `faults`
    /// faults, each in every degree. The first rendering is the unchanged image.
    pub(super) fn draw(styled: usize, faults: usize, rng: &mut StdRng) -> Vec<Self> {
        let mut all: Vec<Self> = draw_styles(styled, rng).into_iter().map(Self::Styled).collect();
        if faults > 0 {
            let mut order = Distortion::ALL;
            order.shuffle(rng);
            let chosen = order.into_iter().cycle().take(faults);
            all.extend(chosen.flat_map(|fault| (1..=DEGREES).map(move |degree| Self::Faulty(fault, degree))));
        }
        all
    }

    /// Returns the styles with their strengths; empty for a fault.
    pub(super) fn styles(&self) -> &[(Style, f32)] {
        match self {
            Self::Styled(styles) => styles,
            Self::Faulty(..) => &[],
        }
    }

    /// Returns the degree of the fault; 0 without a fault.
    pub(super) fn degree(&self) -> usize {
        match self {
            Self::Styled(_) => 0,
            Self::Faulty(_, degree) => *degree,
        }
    }

    /// Returns the name of the condition: `plain`, the styles with their strengths, or the fault with its degree.
    pub(super) fn condition(&self) -> String {
        match self {
            Self::Styled(styles) if styles.is_empty() => "plain".to_owned(),
            Self::Styled(styles) => {
                let words = styles.iter().map(|(style, strength)| format!("{} {strength}", style.tag()));
                words.collect::<Vec<_>>().join(" + ")
            }
            Self::Faulty(fault, degree) => format!("{} {degree}", fault.name()),
        }
    }

    /// Renders `image`. `seed` determines random textures, such as noise.
    ///
    /// # Errors
    /// The errors of the JPEG coder.
    pub(super) fn of(&self, image: &RgbImage, seed: u64) -> ImageResult<RgbImage> {
        match self {
            Self::Styled(styles) => Ok(render(image, styles, seed)),
            Self::Faulty(fault, degree) => distort(image, *fault, *degree, seed),
        }
    }
}

/// Draws the styles of each rendering. The first rendering has no style; the others take the styles in turn, in a
/// random order and at random strengths.
fn draw_styles(renderings: usize, rng: &mut StdRng) -> Vec<Vec<(Style, f32)>> {
    let mut order = Style::ALL;
    order.shuffle(rng);
    let mut out = vec![Vec::new()];
    for i in 1..renderings {
        let style = order[(i - 1) % order.len()];
        let mut strength = || STRENGTHS[rng.random_range(0..STRENGTHS.len())];
        let mut styles = vec![(style, strength())];
        if i % COMBINED_EVERY == 0 {
            let partner = order.iter().cycle().skip(i).find(|s| s.is_optical() != style.is_optical());
            styles.extend(partner.map(|s| (*s, strength())));
            // Apply tonal styles first: the optical styles imitate lens and film, which act on the toned picture.
            styles.sort_by_key(|(style, _)| style.is_optical());
        }
        out.push(styles);
    }
    out
}

/// Returns at most `count` tags for a rendering: its own styles, the neutral tag (`None`), then other styles in random
/// order.
pub(super) fn draw_tags(styles: &[(Style, f32)], count: usize, rng: &mut StdRng) -> Vec<Option<Style>> {
    let mut others: Vec<Style> = Style::ALL.into_iter().filter(|s| styles.iter().all(|(own, _)| own != s)).collect();
    others.shuffle(rng);
    let own = styles.iter().map(|(style, _)| Some(*style));
    own.chain([None]).chain(others.into_iter().map(Some)).take(count).collect()
}

/// Draws a standard normal number (Box and Muller).
pub(super) fn normal(rng: &mut StdRng) -> f32 {
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    ((-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn renderings_go_through_all_styles_and_tags_begin_with_their_own() {
        let mut rng = StdRng::seed_from_u64(3);
        let drawn = draw_styles(12, &mut rng);
        assert!(drawn[0].is_empty());
        let first: HashSet<Style> = drawn.iter().flatten().map(|(s, _)| *s).collect();
        assert_eq!(first.len(), Style::ALL.len());
        let combined: Vec<_> = drawn.iter().filter(|s| s.len() == 2).collect();
        assert_eq!(combined.len(), 3);
        for styles in &combined {
            assert!(!styles[0].0.is_optical() && styles[1].0.is_optical());
            let tags = draw_tags(styles, 4, &mut rng);
            assert_eq!(tags[..3], [Some(styles[0].0), Some(styles[1].0), None]);
            assert!(tags[3].is_some_and(|t| styles.iter().all(|(s, _)| *s != t)));
        }
        assert_eq!(draw_tags(&[], 12, &mut rng).into_iter().collect::<HashSet<_>>().len(), 12);
        let both = Rendering::Styled(vec![(Style::Duotone, 0.7), (Style::Vignette, 1.0)]);
        assert_eq!(both.condition(), "duotone 0.7 + vignette 1");
    }

    #[test]
    fn faults_come_in_all_their_degrees_and_leave_the_styles_as_they_were() {
        let draw = |faults| Rendering::draw(4, faults, &mut StdRng::seed_from_u64(5));
        let (without, with) = (draw(0), draw(2));
        assert_eq!(with[..4], without);
        let degrees: Vec<usize> = with.iter().map(Rendering::degree).collect();
        assert_eq!(degrees, [0, 0, 0, 0, 1, 2, 3, 1, 2, 3]);
        assert_ne!(with[4].condition(), with[7].condition());
        assert!(with[4].condition().ends_with(" 1") && with[4].styles().is_empty());
    }

    #[test]
    fn the_raters_noise_is_normal() {
        let mut rng = StdRng::seed_from_u64(1);
        let draws: Vec<f32> = (0..20_000).map(|_| normal(&mut rng)).collect();
        let mean = draws.iter().sum::<f32>() / 20_000.0;
        let deviation = (draws.iter().map(|d| (d - mean).powi(2)).sum::<f32>() / 20_000.0).sqrt();
        assert!(mean.abs() < 0.03 && (deviation - 1.0).abs() < 0.03, "{mean} {deviation}");
    }
}
