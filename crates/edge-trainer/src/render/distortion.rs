//! Faults in degrees of known order: a higher degree is a worse picture under every tag. Lengths scale with the short
//! side of the picture.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, blur, resize};
use image::{ImageFormat, ImageResult, Rgb, RgbImage};

use super::noise::{hash, to_unit};

/// A kind of technical fault of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Distortion {
    /// Artefacts of strong JPEG compression.
    JpegArtefacts,
    /// Blur of a lens that is out of focus.
    Defocus,
    /// White noise in every channel.
    Noise,
    /// Blur of a picture that was enlarged from fewer pixels.
    Enlarged,
    /// Only a few values per channel.
    Banding,
}

/// Number of degrees of each fault.
pub const DEGREES: usize = 3;

impl Distortion {
    /// All kinds of faults.
    pub const ALL: [Self; 5] = [Self::JpegArtefacts, Self::Defocus, Self::Noise, Self::Enlarged, Self::Banding];

    /// Returns the name for reports and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::JpegArtefacts => "JPEG artefacts",
            Self::Defocus => "defocus",
            Self::Noise => "noise",
            Self::Enlarged => "enlarged",
            Self::Banding => "banding",
        }
    }
}

/// Returns the picture with a fault of `degree`, 1 to [`DEGREES`]; degrees outside are clamped. `seed` decides the
/// noise.
///
/// # Errors
/// Those of the JPEG coder.
pub fn distort(image: &RgbImage, distortion: Distortion, degree: usize, seed: u64) -> ImageResult<RgbImage> {
    let at = degree.clamp(1, DEGREES) - 1;
    let (width, height) = image.dimensions();
    let unit = width.min(height) as f32 / 512.0;
    Ok(match distortion {
        Distortion::JpegArtefacts => jpeg(image, [25, 12, 5][at])?,
        Distortion::Defocus => blur(image, [1.2, 2.4, 4.8][at] * unit),
        Distortion::Noise => noise(image, [0.05, 0.1, 0.2][at], seed),
        Distortion::Enlarged => {
            let by = [2, 3, 5][at];
            let small = resize(image, (width / by).max(1), (height / by).max(1), FilterType::Triangle);
            resize(&small, width, height, FilterType::Triangle)
        }
        Distortion::Banding => {
            let steps = [20.0, 10.0, 5.0][at];
            map(image, |_, _, _, v| (v * steps).round() / steps)
        }
    })
}

/// Returns the picture after JPEG compression.
pub(super) fn jpeg(image: &RgbImage, quality: u8) -> ImageResult<RgbImage> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(image)?;
    Ok(image::load(Cursor::new(bytes), ImageFormat::Jpeg)?.into_rgb8())
}

/// Adds approximately normal noise: the sum of three uniform numbers has a standard deviation of 1/2.
pub(super) fn noise(image: &RgbImage, deviation: f32, seed: u64) -> RgbImage {
    map(image, |x, y, channel, v| {
        let draw = |k: u64| to_unit(hash(seed ^ k, i64::from(x) * 3 + channel as i64, i64::from(y)));
        v + deviation * (2.0 * (draw(1) + draw(2) + draw(3)) - 3.0)
    })
}

/// Returns the picture with each value replaced by `value(x, y, channel, old value)`.
pub(super) fn map(image: &RgbImage, value: impl Fn(u32, u32, usize, f32) -> f32) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let Rgb(pixel) = *image.get_pixel(x, y);
        Rgb(std::array::from_fn(|c| super::to_byte(value(x, y, c, f32::from(pixel[c]) / 255.0))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Scene, Treatment, picture};

    #[test]
    fn every_fault_grows_with_its_degree() {
        let image = picture(Scene::Mountains, Treatment::Clean, 192, 144, 1);
        let far = |other: &RgbImage| {
            let pairs = image.as_raw().iter().zip(other.as_raw());
            pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>()
        };
        for fault in Distortion::ALL {
            let degrees: Vec<RgbImage> = (1..=DEGREES).map(|d| distort(&image, fault, d, 7).unwrap()).collect();
            assert!(degrees.iter().all(|d| d.dimensions() == image.dimensions()));
            let distances: Vec<f64> = degrees.iter().map(far).collect();
            assert!(distances[0] > 0.0 && distances.is_sorted_by(|a, b| a < b), "{fault:?} {distances:?}");
            assert_eq!(degrees[1], distort(&image, fault, 2, 7).unwrap());
        }
    }
}
