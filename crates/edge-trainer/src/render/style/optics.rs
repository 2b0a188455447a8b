//! Optical styles: effects of lens, film and exposure.

use image::{Rgb, Rgb32FImage};

use super::pixels::{between, blur, luma, map_pixels, mix, short_side};
use crate::render::noise::{hash, smooth, to_unit};

/// `v' = v + 0.16 s (0.4 + 2.4 Y (1 - Y)) n`. The noise `n` is the same in all channels and approximately normal with a
/// deviation of 1. Its factor is largest in the midtones. A grain is 1/500 of the short side wide, at least one pixel.
pub fn grain(image: &Rgb32FImage, s: f32, seed: u64) -> Rgb32FImage {
    let size = (short_side(image) / 500.0).round().max(1.0) as u32;
    Rgb32FImage::from_fn(image.width(), image.height(), |x, y| {
        let p = image.get_pixel(x, y).0;
        let draw = |k: u64| to_unit(hash(seed ^ (0x9a41 + k), i64::from(x / size), i64::from(y / size)));
        // The sum of three uniform numbers has a standard deviation of 1/2.
        let n = 2.0 * (draw(1) + draw(2) + draw(3) - 1.5);
        let y = luma(p).clamp(0.0, 1.0);
        Rgb(p.map(|v| v + 0.16 * s * (0.4 + 2.4 * y * (1.0 - y)) * n))
    })
}

/// Replaces each pixel by the mean along a line through it. The line is `0.1 s` of the short side long. The seed
/// chooses the line's direction.
pub fn motion_blur(image: &Rgb32FImage, s: f32, seed: u64) -> Rgb32FImage {
    let length = (short_side(image) * 0.1 * s).max(2.0);
    turned_motion(image, length, std::f32::consts::PI * to_unit(hash(seed, 7, 7)))
}

/// Replaces each pixel by the mean along a line of `length` pixels through it, at `angle` radians.
pub fn turned_motion(image: &Rgb32FImage, length: f32, angle: f32) -> Rgb32FImage {
    let steps = length.ceil() as usize;
    let offsets: Vec<(f32, f32)> = (0..=steps)
        .map(|i| length * (i as f32 / steps as f32 - 0.5))
        .map(|t| (t * angle.cos(), t * angle.sin()))
        .collect();
    Rgb32FImage::from_fn(image.width(), image.height(), |x, y| {
        let mut sum = [0.0f32; 3];
        for (dx, dy) in &offsets {
            let p = between(image, x as f32 + dx, y as f32 + dy);
            (0..3).for_each(|c| sum[c] += p[c]);
        }
        Rgb(sum.map(|v| v / offsets.len() as f32))
    })
}

/// `v' = (1 - k) v + k b` with `k = 0.45 + 0.35 s`, where `b` is `v` blurred by `0.008 + 0.017 s` of the short side.
/// Outlines stay visible, as with a soft-focus lens.
pub fn soft_focus(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    let soft = blur(image, short_side(image) * (0.008 + 0.017 * s));
    Rgb32FImage::from_fn(image.width(), image.height(), |x, y| {
        let (p, b) = (image.get_pixel(x, y).0, soft.get_pixel(x, y).0);
        Rgb(std::array::from_fn(|c| mix(p[c], b[c], 0.45 + 0.35 * s)))
    })
}

/// `v' = v (1 - (0.35 + 0.6 s) m)`. Along the way from the centre to a corner, `m` rises from 0 at 0.35 of the distance
/// to 1 at the corner.
pub fn vignette(image: &Rgb32FImage, s: f32) -> Rgb32FImage {
    let (cx, cy) = ((image.width() - 1) as f32 / 2.0, (image.height() - 1) as f32 / 2.0);
    let corner = cx.hypot(cy).max(1.0);
    let bright = map_pixels(image, |p| p.map(|v| v.clamp(0.0, 1.0)));
    Rgb32FImage::from_fn(image.width(), image.height(), |x, y| {
        let away = (x as f32 - cx).hypot(y as f32 - cy) / corner;
        let light = 1.0 - (0.35 + 0.6 * s) * smooth(0.35, 1.0, away);
        Rgb(bright.get_pixel(x, y).0.map(|v| v * light))
    })
}
