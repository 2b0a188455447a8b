//! Damage as cameras and programs do it to photographs, in degrees of known order: a higher degree is a worse picture. The degrees are
//! milder than those of [`super::distortion`], because photographs in use are.

use image::imageops::{FilterType, blur, crop_imm, resize};
use image::{ImageResult, Rgb, RgbImage};

use super::distortion::{jpeg, map, noise};
use super::noise::{hash, to_unit};
use super::style::{pixels, turned_motion};

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Damage {
    /// Blur of a lens that is out of focus.
    Defocus,
    /// Blur along a line, of a moving camera.
    Motion,
    /// White noise in every channel.
    Noise,
    /// Artefacts of JPEG compression.
    Compression,
    /// Blur of a picture that was enlarged from fewer pixels.
    Enlarged,
    /// Too little light.
    Underexposed,
    /// Too much light; bright parts are cut off.
    Overexposed,
    /// A cast towards orange or blue.
    ColourCast,
    /// Only a few values per channel.
    Banding,
    /// A tilted horizon; the picture is cut so that no corner is empty.
    Tilted,
    /// A part of the picture that leaves its middle out.
    BadlyCropped,
}

/// Number of degrees of each kind.
pub const DEGREES: usize = 3;

impl Damage {
    /// All kinds of damage.
    pub const ALL: [Self; 11] = [
        Self::Defocus,
        Self::Motion,
        Self::Noise,
        Self::Compression,
        Self::Enlarged,
        Self::Underexposed,
        Self::Overexposed,
        Self::ColourCast,
        Self::Banding,
        Self::Tilted,
        Self::BadlyCropped,
    ];

    /// Returns the name for reports and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Defocus => "defocus",
            Self::Motion => "motion",
            Self::Noise => "noise",
            Self::Compression => "compression",
            Self::Enlarged => "enlarged",
            Self::Underexposed => "underexposed",
            Self::Overexposed => "overexposed",
            Self::ColourCast => "colour cast",
            Self::Banding => "banding",
            Self::Tilted => "tilted",
            Self::BadlyCropped => "badly cropped",
        }
    }
}

/// Returns the picture with damage of `degree`, 1 to [`DEGREES`]; degrees outside are clamped. `seed` decides noise and directions.
///
/// # Errors
/// Those of the JPEG coder.
pub fn damaged(image: &RgbImage, damage: Damage, degree: usize, seed: u64) -> ImageResult<RgbImage> {
    let at = degree.clamp(1, DEGREES) - 1;
    let (width, height) = image.dimensions();
    // Blur is as wide in all pictures of 1,000 pixels and less; in larger ones it grows with them.
    let unit = (width.min(height) as f32 / 1000.0).max(1.0);
    let is_first = seed.is_multiple_of(2);
    Ok(match damage {
        Damage::Defocus => blur(image, [0.8, 1.6, 3.2][at] * unit),
        Damage::Motion => {
            let length = [4.0, 8.0, 16.0][at] * unit;
            let angle = std::f32::consts::PI * to_unit(hash(seed, 3, 3));
            pixels::to_bytes(&turned_motion(&pixels::to_float(image), length, angle))
        }
        Damage::Noise => noise(image, [0.02, 0.045, 0.09][at], seed),
        Damage::Compression => jpeg(image, [50, 25, 10][at])?,
        Damage::Enlarged => {
            let by = [1.5, 2.4, 4.0][at];
            let less = |length: u32| ((length as f32 / by) as u32).max(1);
            resize(
                &resize(image, less(width), less(height), FilterType::CatmullRom),
                width,
                height,
                FilterType::CatmullRom,
            )
        }
        Damage::Underexposed => map(image, |_, _, _, v| v * [0.7, 0.5, 0.3][at]),
        Damage::Overexposed => map(image, |_, _, _, v| v * [1.3, 1.7, 2.3][at]),
        Damage::ColourCast => {
            let by = [0.12, 0.25, 0.42][at];
            let gains = if is_first { [1.0 + by, 1.0, 1.0 - by] } else { [1.0 - by, 1.0, 1.0 + by] };
            map(image, |_, _, channel, v| v * gains[channel])
        }
        Damage::Banding => {
            let steps = [28.0, 14.0, 8.0][at];
            map(image, |_, _, _, v| (v * steps).round() / steps)
        }
        Damage::Tilted => tilted(image, [0.05f32, 0.11, 0.2][at] * if is_first { 1.0 } else { -1.0 }),
        Damage::BadlyCropped => {
            let share = [0.7, 0.55, 0.42][at];
            let part = |length: u32| ((length as f32 * share) as u32).max(1);
            let (part_width, part_height) = (part(width), part(height));
            // The corner of the picture that is kept.
            let left = if is_first { 0 } else { width - part_width };
            let top = if (seed / 2).is_multiple_of(2) { 0 } else { height - part_height };
            crop_imm(image, left, top, part_width, part_height).to_image()
        }
    })
}

/// Returns the largest part of the picture, turned by `angle` radians, that has the picture's shape and no empty corner.
fn tilted(image: &RgbImage, angle: f32) -> RgbImage {
    let source = pixels::to_float(image);
    let (w, h) = (image.width() as f32, image.height() as f32);
    let (sin, cos) = (angle.sin().abs(), angle.cos());
    // The turned rectangle of `share` times the size must fit into the picture in both directions.
    let share = (w / (w * cos + h * sin)).min(h / (w * sin + h * cos));
    let size = |length: f32| ((length * share) as u32).max(1);
    let (width, height) = (size(w), size(h));
    let (sin, cos) = angle.sin_cos();
    RgbImage::from_fn(width, height, |x, y| {
        let (dx, dy) = (x as f32 - width as f32 / 2.0, y as f32 - height as f32 / 2.0);
        let at = (w / 2.0 + dx * cos - dy * sin, h / 2.0 + dx * sin + dy * cos);
        Rgb(pixels::between(&source, at.0, at.1).map(super::to_byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Scene, Treatment, picture};

    #[test]
    fn all_damage_grows_with_its_degree() {
        let image = picture(Scene::Mountains, Treatment::Clean, 192, 144, 1);
        for damage in Damage::ALL {
            let degrees: Vec<RgbImage> = (1..=DEGREES).map(|d| damaged(&image, damage, d, 7).unwrap()).collect();
            assert_eq!(degrees[1], damaged(&image, damage, 2, 7).unwrap());
            if matches!(damage, Damage::Tilted | Damage::BadlyCropped) {
                let pixels: Vec<usize> = degrees.iter().map(|d| d.as_raw().len()).collect();
                assert!(pixels[0] < image.as_raw().len() && pixels.is_sorted_by(|a, b| a > b), "{damage:?} {pixels:?}");
                continue;
            }
            assert!(degrees.iter().all(|d| d.dimensions() == image.dimensions()));
            let far = |other: &RgbImage| {
                let pairs = image.as_raw().iter().zip(other.as_raw());
                pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>()
            };
            let distances: Vec<f64> = degrees.iter().map(far).collect();
            assert!(distances[0] > 0.0 && distances.is_sorted_by(|a, b| a < b), "{damage:?} {distances:?}");
        }
    }

    #[test]
    fn a_tilted_picture_turns_about_its_middle_and_has_no_empty_corner() {
        let white = RgbImage::from_pixel(120, 80, Rgb([255; 3]));
        let turned = damaged(&white, Damage::Tilted, 3, 2).unwrap();
        assert!(turned.pixels().all(|pixel| pixel.0 == [255; 3]));
        // A line across the middle: its left end rises by the tangent of the angle.
        let line = RgbImage::from_fn(401, 301, |_, y| Rgb([if y < 150 { 0 } else { 255 }; 3]));
        let turned = damaged(&line, Damage::Tilted, 2, 2).unwrap();
        let edge = |x: u32| (0..turned.height()).find(|y| turned.get_pixel(x, *y).0[0] > 127).unwrap() as f32;
        let slope = (edge(20) - edge(turned.width() - 21)) / (turned.width() - 41) as f32;
        assert!((slope.abs() - 0.11f32.tan()).abs() < 0.01, "{slope}");
    }
}
