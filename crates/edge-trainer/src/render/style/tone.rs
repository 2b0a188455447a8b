//! Styles that change tones and colours in their places.

use image::Rgb32FImage;

use super::pixels::{blur, luma, map_pixels, mix, short_side};
use crate::render::noise::{hash, smooth};

/// The two inks of a duotone: shadows and lights.
const INKS: [[[f32; 3]; 2]; 4] = [
    [[0.17, 0.09, 0.03], [1.0, 0.93, 0.78]],
    [[0.02, 0.07, 0.22], [0.99, 0.92, 0.75]],
    [[0.12, 0.02, 0.2], [1.0, 0.85, 0.6]],
    [[0.0, 0.14, 0.13], [0.98, 0.82, 0.78]],
];

/// `v' = Y + s (3 Y^2 - 2 Y^3 - Y)`: the colour goes at every strength, the contrast grows.
pub fn black_and_white(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    map_pixels(image, |p| {
        let y = luma(p);
        [mix(y, smooth(0.0, 1.0, y), s); 3]
    })
}

/// `v' = (1 - k) Y + k ((1 - Y) dark + Y light)` with `k = 0.3 + 0.7 s`; the seed chooses the inks `dark` and `light`.
pub fn duotone(image: &Rgb32FImage, s: f32, seed: u64) -> Rgb32FImage {
    let [dark, light] = INKS[(hash(seed, 0, 0) % INKS.len() as u64) as usize];
    map_pixels(image, |p| {
        let y = luma(p);
        std::array::from_fn(|c| mix(y, mix(dark[c], light[c], y), 0.3 + 0.7 * s))
    })
}

/// `v' = l + (1 - l) (1 - (1 - v)^(1 + 1.5 s))` with lifted shadows, `l = 0.25 s`.
pub fn high_key(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    map_pixels(image, |p| p.map(|v| mix(1.0 - (1.0 - v).max(0.0).powf(1.0 + 1.5 * s), 1.0, 0.25 * s)))
}

/// `v' = (1 - 0.25 s) v^(1 + 2 s)`.
pub fn low_key(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    map_pixels(image, |p| p.map(|v| (1.0 - 0.25 * s) * v.max(0.0).powf(1.0 + 2.0 * s)))
}

/// With `B` the luma blurred by a 24th of the short side: `Y' = 0.5 + (1 - 0.6 s)(B - 0.5) + (1 + 1.5 s)(Y - B)` evens the
/// lighting and raises the local contrast, `v' = Y' + (1 + 0.6 s)(v - Y)` the colour.
pub fn hdr(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    let base = blur(image, short_side(image) / 24.0);
    Rgb32FImage::from_fn(image.width(), image.height(), |x, y| {
        let p = image.get_pixel(x, y).0;
        let (light, around) = (luma(p), luma(base.get_pixel(x, y).0));
        let tone = 0.5 + (1.0 - 0.6 * s) * (around - 0.5) + (1.0 + 1.5 * s) * (light - around);
        image::Rgb(p.map(|v| tone + (1.0 + 0.6 * s) * (v - light)))
    })
}

/// With `m` rising from 0 to 1 where the luma, blurred by a 100th of the short side, passes its own median by -0.05 to 0.05:
/// `v' = (1 - a + a m) v + 0.4 s m (1 - v)`, `a = 0.6 + 0.4 s`. What is darker than the median becomes a dark shape, what is
/// brighter its bright ground.
pub fn silhouette(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    let shapes = blur(image, short_side(image) / 100.0);
    let mut lights: Vec<f32> = shapes.pixels().map(|p| luma(p.0)).collect();
    lights.sort_unstable_by(f32::total_cmp);
    let median = lights.get(lights.len() / 2).copied().unwrap_or(0.5);
    let depth = 0.6 + 0.4 * s;
    Rgb32FImage::from_fn(image.width(), image.height(), |x, y| {
        let ground = smooth(median - 0.05, median + 0.05, luma(shapes.get_pixel(x, y).0));
        let p = image.get_pixel(x, y).0;
        image::Rgb(p.map(|v| (1.0 - depth + depth * ground) * v + 0.4 * s * ground * (1.0 - v)))
    })
}

/// `v' = 0.5 + k (0.5 - v)` with `k = 0.4 + 0.6 s`: the weaker, the paler.
pub fn negative(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    map_pixels(image, |p| p.map(|v| 0.5 + (0.4 + 0.6 * s) * (0.5 - v)))
}
