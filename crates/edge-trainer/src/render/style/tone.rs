//! Tonal styles: they change tones and colours, not positions.

use image::Rgb32FImage;

use super::pixels::{blur, luma, map_pixels, mix, short_side};
use crate::render::noise::{hash, smooth};

/// Pairs of inks of a duotone: shadows and highlights.
const INKS: [[[f32; 3]; 2]; 4] = [
    [[0.17, 0.09, 0.03], [1.0, 0.93, 0.78]],
    [[0.02, 0.07, 0.22], [0.99, 0.92, 0.75]],
    [[0.12, 0.02, 0.2], [1.0, 0.85, 0.6]],
    [[0.0, 0.14, 0.13], [0.98, 0.82, 0.78]],
];

/// `v' = Y + s (3 Y^2 - 2 Y^3 - Y)`. The colour is removed at every strength; the contrast grows with the strength.
pub fn black_and_white(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    map_pixels(image, |p| {
        let y = luma(p);
        [mix(y, smooth(0.0, 1.0, y), s); 3]
    })
}

/// `v' = (1 - k) Y + k ((1 - Y) dark + Y light)` with `k = 0.3 + 0.7 s`. The seed chooses the inks `dark` and `light`.
pub fn duotone(image: &Rgb32FImage, s: f32, seed: u64) -> Rgb32FImage {
    let [dark, light] = INKS[(hash(seed, 0, 0) % INKS.len() as u64) as usize];
    map_pixels(image, |p| {
        let y = luma(p);
        std::array::from_fn(|c| mix(y, mix(dark[c], light[c], y), 0.3 + 0.7 * s))
    })
}

/// `v' = l + (1 - l) (1 - (1 - v)^(1 + 1.5 s))` with `l = 0.25 s`, which lifts the shadows.
pub fn high_key(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    map_pixels(image, |p| p.map(|v| mix(1.0 - (1.0 - v).max(0.0).powf(1.0 + 1.5 * s), 1.0, 0.25 * s)))
}

/// `v' = (1 - 0.25 s) v^(1 + 2 s)`.
pub fn low_key(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    map_pixels(image, |p| p.map(|v| (1.0 - 0.25 * s) * v.max(0.0).powf(1.0 + 2.0 * s)))
}

/// `v' = Y' + (1 + 0.6 s)(v - Y)` with `Y' = 0.5 + (1 - 0.6 s)(B - 0.5) + (1 + 1.5 s)(Y - B)`. `B` is the luma blurred
/// by 1/24 of the short side. `Y'` has more even lighting and more local contrast than `Y`; `v'` has stronger colours.
pub fn hdr(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    let base = blur(image, short_side(image) / 24.0);
    Rgb32FImage::from_fn(image.width(), image.height(), |x, y| {
        let p = image.get_pixel(x, y).0;
        let (light, around) = (luma(p), luma(base.get_pixel(x, y).0));
        let tone = 0.5 + (1.0 - 0.6 * s) * (around - 0.5) + (1.0 + 1.5 * s) * (light - around);
        image::Rgb(p.map(|v| tone + (1.0 + 0.6 * s) * (v - light)))
    })
}

/// `v' = (1 - a + a m) v + 0.4 s m (1 - v)` with `a = 0.6 + 0.4 s`. `B` is the luma blurred by 1/100 of the short side.
/// `m` rises from 0 to 1 while `B` rises from 0.05 below to 0.05 above its median. Areas darker than the median become
/// dark shapes, brighter areas become the background.
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

/// `v' = 0.5 + k (0.5 - v)` with `k = 0.4 + 0.6 s`. The picture is paler at low strength.
pub fn negative(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    map_pixels(image, |p| p.map(|v| 0.5 + (0.4 + 0.6 * s) * (0.5 - v)))
}
