//! Draws synthetic pictures (for the goldens of every bundle, the samples of the quick start and test data), and
//! renders photographic styles, faults and damage of given pictures. The same arguments give the same picture. Knows nothing of
//! networks.

pub mod damage;
pub mod distortion;
mod noise;
mod objects;
mod scenes;
pub mod style;

use image::imageops::fast_blur;
use image::{Rgb, RgbImage};

pub use scenes::Scene;

use noise::{hash, to_unit};

/// Photographic quality of a drawn picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Sharp, well exposed, with the faint noise of a good sensor.
    Clean,
    /// Blurred as by a lens out of focus.
    Blurred,
    /// With the noise of a small sensor in low light.
    Noisy,
    /// Far too dark.
    Underexposed,
    /// Low contrast and pale colours.
    Flat,
}

impl Treatment {
    /// All treatments, the best first.
    pub const ALL: [Self; 5] = [Self::Clean, Self::Flat, Self::Underexposed, Self::Noisy, Self::Blurred];

    /// Returns one word for file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Blurred => "blurred",
            Self::Noisy => "noisy",
            Self::Underexposed => "dark",
            Self::Flat => "flat",
        }
    }
}

/// Draws a picture of `width` x `height` pixels. `seed` decides the details, such as the places of clouds, houses and
/// leaves.
pub fn picture(scene: Scene, treatment: Treatment, width: u32, height: u32, seed: u64) -> RgbImage {
    let shade = scene.shader();
    let frame = scenes::SceneFrame { aspect: width as f32 / height as f32, pixel: 1.0 / height as f32, seed };
    let image = RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = ((x as f32 + 0.5) * frame.pixel, (y as f32 + 0.5) * frame.pixel);
        let colour = shade(&frame, u, v);
        let grain = sensor(treatment, seed, x, y);
        Rgb(std::array::from_fn(|c| to_byte(expose(treatment, colour)[c] + grain[c])))
    });
    match treatment {
        Treatment::Blurred => fast_blur(&image, height as f32 / 110.0),
        _ => image,
    }
}

/// Converts 0..=1 to 0..=255; values outside are clamped.
fn to_byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// Applies the exposure and contrast of a treatment to a colour.
fn expose(treatment: Treatment, colour: [f32; 3]) -> [f32; 3] {
    match treatment {
        Treatment::Underexposed => colour.map(|v| v.max(0.0).powf(1.5) * 0.28),
        Treatment::Flat => {
            let grey = (colour[0] + colour[1] + colour[2]) / 3.0;
            colour.map(|v| 0.36 + 0.3 * (0.35 * v + 0.65 * grey))
        }
        _ => colour,
    }
}

/// Returns the sensor noise of a pixel. It is approximately normal: a sum of three uniform numbers.
fn sensor(treatment: Treatment, seed: u64, x: u32, y: u32) -> [f32; 3] {
    let strength = match treatment {
        Treatment::Noisy => 0.16,
        Treatment::Underexposed => 0.025,
        _ => 0.008,
    };
    std::array::from_fn(|c| {
        let draw = |k: u64| to_unit(hash(seed ^ (0x5eed + k), i64::from(x) * 3 + c as i64, i64::from(y)));
        strength * (2.0 * (draw(1) + draw(2) + draw(3)) - 3.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_depends_on_its_arguments_only() {
        let a = picture(Scene::Forest, Treatment::Noisy, 60, 40, 3);
        assert_eq!(a, picture(Scene::Forest, Treatment::Noisy, 60, 40, 3));
        assert_ne!(a, picture(Scene::Forest, Treatment::Noisy, 60, 40, 4));
        assert_eq!(a.dimensions(), (60, 40));
    }

    #[test]
    fn every_scene_has_light_and_shade() {
        for scene in Scene::ALL {
            let image = picture(scene, Treatment::Clean, 96, 72, 1);
            let (low, high) = image.pixels().fold((255, 0), |(l, h), p| (p.0[1].min(l), p.0[1].max(h)));
            assert!(high > low + 60, "{scene:?}: {low} to {high}");
        }
    }
}
