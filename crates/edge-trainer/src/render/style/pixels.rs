//! Pictures with values of 0 to 1, and operations that several styles share.

use image::{ImageBuffer, Rgb, Rgb32FImage, RgbImage};

/// Converts bytes to 0..=1.
pub fn to_float(image: &RgbImage) -> Rgb32FImage {
    map_pixels(image, |p| p.map(|v| f32::from(v) / 255.0))
}

/// Converts 0..=1 to bytes; values outside are clamped.
pub fn to_bytes(image: &Rgb32FImage) -> RgbImage {
    map_pixels(image, |p| p.map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8))
}

/// Returns a picture of the same size with each pixel converted by `f`.
pub fn map_pixels<A, B>(
    image: &ImageBuffer<Rgb<A>, Vec<A>>,
    f: impl Fn([A; 3]) -> [B; 3],
) -> ImageBuffer<Rgb<B>, Vec<B>>
where
    A: Copy,
    B: Copy,
    Rgb<A>: image::Pixel<Subpixel = A>,
    Rgb<B>: image::Pixel<Subpixel = B>,
{
    ImageBuffer::from_fn(image.width(), image.height(), |x, y| Rgb(f(image.get_pixel(x, y).0)))
}

/// Returns the Rec. 601 luma.
pub fn luma([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// Interpolates linearly: `a` for t = 0, `b` for t = 1.
pub fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// Returns the shorter side in pixels.
pub fn short_side(image: &Rgb32FImage) -> f32 {
    image.width().min(image.height()) as f32
}

/// Blurs by an approximate Gaussian of standard deviation `sigma` in pixels: three box filters whose variances add up
/// to `sigma` squared, except that their radius is rounded to whole pixels. Values outside the image are those of the
/// nearest border pixel.
pub fn blur(image: &Rgb32FImage, sigma: f32) -> Rgb32FImage {
    const PASSES: f32 = 3.0;
    let radius = (((12.0 * sigma * sigma / PASSES + 1.0).sqrt() - 1.0) / 2.0).round().max(1.0) as usize;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut out = image.clone();
    let values: &mut [f32] = &mut out;
    let mut line = Vec::new();
    for _ in 0..PASSES as usize {
        for start in (0..height).flat_map(|y| (0..3).map(move |c| y * width * 3 + c)) {
            box_filter(values, &mut line, (start, 3, width), radius);
        }
        for start in 0..width * 3 {
            box_filter(values, &mut line, (start, width * 3, height), radius);
        }
    }
    out
}

/// Replaces each value of a row or column of one channel by the average of the `2 radius + 1` values around it. `start`
/// is the index of the first value, `step` the distance between values, `length` their number, and `line` a buffer.
fn box_filter(values: &mut [f32], line: &mut Vec<f32>, (start, step, length): (usize, usize, usize), radius: usize) {
    let first = values[start];
    line.clear();
    line.extend(std::iter::repeat_n(first, radius));
    line.extend(values[start..].iter().step_by(step).take(length));
    let last = line.last().copied().unwrap_or(first);
    line.extend(std::iter::repeat_n(last, radius + 1));
    let scale = 1.0 / (2 * radius + 1) as f32;
    let mut sum: f32 = line[..2 * radius + 1].iter().sum();
    for i in 0..length {
        values[start + i * step] = sum * scale;
        sum += line[i + 2 * radius + 1] - line[i];
    }
}

/// Returns the colour at a position between four pixels, by bilinear interpolation. Positions outside the image use the
/// nearest border pixel.
pub fn between(image: &Rgb32FImage, x: f32, y: f32) -> [f32; 3] {
    let x = x.clamp(0.0, (image.width() - 1) as f32);
    let y = y.clamp(0.0, (image.height() - 1) as f32);
    let (left, top) = (x as u32, y as u32);
    let (right, bottom) = ((left + 1).min(image.width() - 1), (top + 1).min(image.height() - 1));
    let (fx, fy) = (x - left as f32, y - top as f32);
    let at = |x, y| image.get_pixel(x, y).0;
    let (a, b, c, d) = (at(left, top), at(right, top), at(left, bottom), at(right, bottom));
    std::array::from_fn(|i| mix(mix(a[i], b[i], fx), mix(c[i], d[i], fx), fy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blur_keeps_the_light_and_has_the_asked_width() {
        let dot = Rgb32FImage::from_fn(61, 61, |x, y| Rgb([if (x, y) == (30, 30) { 1.0 } else { 0.0 }; 3]));
        let out = blur(&dot, 4.47);
        let (mut sum, mut variance) = (0.0, 0.0);
        for (x, _, p) in out.enumerate_pixels() {
            sum += p.0[0];
            variance += p.0[0] * (x as f32 - 30.0).powi(2);
        }
        assert!((sum - 1.0).abs() < 1e-3 && (variance.sqrt() - 4.47).abs() < 0.01, "{sum} {}", variance.sqrt());
        let flat = Rgb32FImage::from_pixel(7, 3, Rgb([0.25, 0.5, 1.0]));
        assert!(blur(&flat, 9.0).iter().zip(flat.iter()).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
