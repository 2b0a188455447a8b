//! Pictures drawn by the project itself (the goldens of every bundle, the samples of the quick start, the data of tests), and
//! photographic styles and faults rendered from given pictures. A picture depends on its arguments only. Knows nothing of networks.

pub mod distortion;
mod noise;
mod scenes;
pub mod style;

use image::imageops::fast_blur;
use image::{Rgb, RgbImage};

use noise::{hash, to_unit};

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// The sun goes down over the sea.
    Sunset,
    /// Ridges behind one another.
    Mountains,
    /// Houses with lit windows and lamps above a wet street.
    NightStreet,
    /// A flower before leaves out of focus.
    Flower,
    /// Trunks in the mist.
    Forest,
    /// Head and shoulders against a bright window.
    Portrait,
}

impl Scene {
    /// All scenes.
    pub const ALL: [Self; 6] =
        [Self::Sunset, Self::Mountains, Self::NightStreet, Self::Flower, Self::Forest, Self::Portrait];

    /// A tag that says what the picture is meant to show.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Sunset => "sunset over the sea",
            Self::Mountains => "mountains",
            Self::NightStreet => "night street",
            Self::Flower => "flower",
            Self::Forest => "forest",
            Self::Portrait => "portrait",
        }
    }
}

/// How well it was photographed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Sharp, well exposed, with the faint noise of a good sensor.
    Clean,
    /// Out of focus.
    Blurred,
    /// With the noise of a small sensor in the dark.
    Noisy,
    /// Far too dark.
    Underexposed,
    /// Few grey levels and pale colours.
    Flat,
}

impl Treatment {
    /// All treatments, the best first.
    pub const ALL: [Self; 5] = [Self::Clean, Self::Flat, Self::Underexposed, Self::Noisy, Self::Blurred];

    /// One word for file names.
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

/// Draws a picture. `seed` decides where clouds, houses and leaves are.
pub fn picture(scene: Scene, treatment: Treatment, width: u32, height: u32, seed: u64) -> RgbImage {
    let shade = scenes::shader(scene);
    let place = scenes::Place { aspect: width as f32 / height as f32, pixel: 1.0 / height as f32, seed };
    let image = RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = ((x as f32 + 0.5) * place.pixel, (y as f32 + 0.5) * place.pixel);
        let colour = shade(&place, u, v);
        let grain = sensor(treatment, seed, x, y);
        Rgb(std::array::from_fn(|c| to_byte(expose(treatment, colour)[c] + grain[c])))
    });
    match treatment {
        Treatment::Blurred => fast_blur(&image, height as f32 / 110.0),
        _ => image,
    }
}

fn to_byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

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

/// Noise of the sensor, about normal: the sum of three uniform numbers.
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
