//! The photographic styles of AVA that a program can render. Each is a formula on sRGB values of 0 to 1 with a strength
//! `s` of 0 to 1. `v` is the value of a channel, `v'` its value after rendering, `Y` the luma .299 R + .587 G + .114 B.
//! Lengths scale with the short side of the picture.

mod optics;
pub(super) mod pixels;
mod tone;

use image::{Rgb32FImage, RgbImage};

pub(super) use optics::turned_motion;

/// A photographic style.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Style {
    /// Without colour; contrast grows with the strength.
    BlackAndWhite,
    /// Two inks: one for shadows, one for highlights.
    Duotone,
    /// Bright, with lifted shadows.
    HighKey,
    /// Dark, with few highlights.
    LowKey,
    /// High dynamic range: even lighting, strong local contrast and colour.
    Hdr,
    /// Dark shapes in front of a bright background.
    Silhouette,
    /// Inverted brightness.
    NegativeImage,
    /// The grain of fast film.
    ImageGrain,
    /// Smeared along a line.
    MotionBlur,
    /// A blend of the sharp and a blurred picture.
    SoftFocus,
    /// Dark corners.
    Vignette,
}

impl Style {
    /// All styles, in a fixed order.
    pub const ALL: [Self; 11] = [
        Self::BlackAndWhite,
        Self::Duotone,
        Self::HighKey,
        Self::LowKey,
        Self::Hdr,
        Self::Silhouette,
        Self::NegativeImage,
        Self::ImageGrain,
        Self::MotionBlur,
        Self::SoftFocus,
        Self::Vignette,
    ];

    /// Returns the tag that asks for the style.
    pub fn tag(self) -> &'static str {
        match self {
            Self::BlackAndWhite => "black and white",
            Self::Duotone => "duotone",
            Self::HighKey => "high key",
            Self::LowKey => "low key",
            Self::Hdr => "HDR",
            Self::Silhouette => "silhouette",
            Self::NegativeImage => "negative image",
            Self::ImageGrain => "image grain",
            Self::MotionBlur => "motion blur",
            Self::SoftFocus => "soft focus",
            Self::Vignette => "vignette",
        }
    }

    /// Returns whether the style is optical (from lens or film) rather than tonal. A tonal and an optical style can be
    /// combined; a second tonal style may undo the first.
    pub fn is_optical(self) -> bool {
        matches!(self, Self::ImageGrain | Self::MotionBlur | Self::SoftFocus | Self::Vignette)
    }

    /// Renders the style at a strength of 0 to 1.
    fn apply(self, image: &Rgb32FImage, strength: f32, seed: u64) -> Rgb32FImage {
        match self {
            Self::BlackAndWhite => tone::black_and_white(image, strength),
            Self::Duotone => tone::duotone(image, strength, seed),
            Self::HighKey => tone::high_key(image, strength),
            Self::LowKey => tone::low_key(image, strength),
            Self::Hdr => tone::hdr(image, strength),
            Self::Silhouette => tone::silhouette(image, strength),
            Self::NegativeImage => tone::negative(image, strength),
            Self::ImageGrain => optics::grain(image, strength, seed),
            Self::MotionBlur => optics::motion_blur(image, strength, seed),
            Self::SoftFocus => optics::soft_focus(image, strength),
            Self::Vignette => optics::vignette(image, strength),
        }
    }
}

/// Renders the styles one after another. `seed` decides the inks, the direction of motion and the grain.
pub fn render(image: &RgbImage, styles: &[(Style, f32)], seed: u64) -> RgbImage {
    if styles.is_empty() {
        return image.clone();
    }
    let start = pixels::to_float(image);
    pixels::to_bytes(&styles.iter().fold(start, |image, (style, strength)| style.apply(&image, *strength, seed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Scene, Treatment, picture};

    /// Mean, standard deviation and colourfulness of the values, and the mean difference of horizontal neighbours.
    fn measures(image: &RgbImage) -> [f64; 4] {
        let count = image.as_raw().len() as f64;
        let mean = image.as_raw().iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let spread = (image.as_raw().iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count).sqrt();
        let chroma = |p: &image::Rgb<u8>| f64::from(p.0.iter().max().unwrap() - p.0.iter().min().unwrap());
        let colour = image.pixels().map(chroma).sum::<f64>() / count * 3.0;
        let rows = image.rows().map(|r| r.map(|p| f64::from(p.0[1])).collect::<Vec<_>>());
        let detail = rows.flat_map(|r| r.windows(2).map(|w| (w[0] - w[1]).abs()).collect::<Vec<_>>()).sum::<f64>();
        [mean, spread, colour, detail / count * 3.0]
    }

    #[test]
    fn every_style_shows_and_grows_with_its_strength() {
        let source = picture(Scene::Flower, Treatment::Clean, 96, 72, 2);
        let distance = |a: &RgbImage, b: &RgbImage| {
            a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>()
                / a.as_raw().len() as f64
        };
        for style in Style::ALL {
            let of = |strength| distance(&source, &render(&source, &[(style, strength)], 5));
            let (weak, strong) = (of(0.4), of(1.0));
            assert!(weak > 1.5 && strong > weak, "{style:?}: {weak} {strong}");
            assert_eq!(render(&source, &[(style, 0.7)], 5), render(&source, &[(style, 0.7)], 5));
        }
        assert_eq!(render(&source, &[], 5), source);
    }

    #[test]
    fn the_styles_do_what_their_names_say() {
        let source = picture(Scene::Flower, Treatment::Clean, 96, 72, 2);
        let of = |style| measures(&render(&source, &[(style, 1.0)], 5));
        let [mean, spread, colour, detail] = measures(&source);
        assert!(of(Style::BlackAndWhite)[2] < 0.5);
        assert!(of(Style::Duotone)[2] > 5.0);
        assert!(of(Style::HighKey)[0] > mean + 30.0 && of(Style::LowKey)[0] < mean - 30.0);
        assert!(of(Style::Hdr)[2] > colour && of(Style::Hdr)[3] > detail);
        assert!(of(Style::Silhouette)[1] > spread);
        assert!((of(Style::NegativeImage)[0] - (255.0 - mean)).abs() < 1.0);
        assert!(of(Style::ImageGrain)[3] > 2.0 * detail);
        assert!(of(Style::MotionBlur)[3] < 0.9 * detail && of(Style::SoftFocus)[3] < 0.9 * detail);
        let dark = render(&source, &[(Style::Vignette, 1.0)], 5);
        let corner = |image: &RgbImage| u32::from(image.get_pixel(0, 0).0[1]);
        assert!(corner(&dark) < corner(&source) / 4 + 1 && dark.get_pixel(48, 36) == source.get_pixel(48, 36));
    }
}
