//! Cheap measures of a picture, stored beside its scores so that a query can ask for sharp or dark pictures without a model.

use image::RgbImage;

/// Measures of the luma (Rec. 601, 0..=1) of a picture as decoded.
///
/// A JPEG much larger than the model's input is decoded at 1/2, 1/4 or 1/8, so sharpness compares pictures of one camera.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// Mean luma.
    pub brightness: f32,
    /// Standard deviation of luma.
    pub contrast: f32,
    /// Standard deviation of the 4-neighbour Laplacian of luma.
    pub sharpness: f32,
}

impl Measures {
    /// Measures `pixels`; all zero for a picture without pixels.
    pub fn of(pixels: &RgbImage) -> Self {
        let (width, height) = (pixels.width() as usize, pixels.height() as usize);
        let luma: Vec<f32> = pixels
            .pixels()
            .map(|p| (0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2])) / 255.0)
            .collect();
        let (brightness, contrast) = mean_and_deviation(luma.iter().copied());
        let inner =
            (1..height.saturating_sub(1)).flat_map(|y| (1..width.saturating_sub(1)).map(move |x| y * width + x));
        let laplacian = inner.map(|i| luma[i - 1] + luma[i + 1] + luma[i - width] + luma[i + width] - 4.0 * luma[i]);
        let (_, sharpness) = mean_and_deviation(laplacian);
        Self { brightness, contrast, sharpness }
    }
}

fn mean_and_deviation(values: impl Iterator<Item = f32>) -> (f32, f32) {
    let (mut count, mut sum, mut squares) = (0_u64, 0.0_f64, 0.0_f64);
    for value in values.map(f64::from) {
        count += 1;
        sum += value;
        squares += value * value;
    }
    if count == 0 {
        return (0.0, 0.0);
    }
    let mean = sum / count as f64;
    (mean as f32, (squares / count as f64 - mean * mean).max(0.0).sqrt() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkerboard_is_sharper_than_a_flat_field() {
        let flat = Measures::of(&RgbImage::from_pixel(8, 8, image::Rgb([128; 3])));
        let board =
            Measures::of(&RgbImage::from_fn(8, 8, |x, y| image::Rgb([if (x + y) % 2 == 0 { 255 } else { 0 }; 3])));
        assert!((flat.brightness - 128.0 / 255.0).abs() < 1e-5 && flat.contrast < 1e-3 && flat.sharpness < 1e-3);
        assert!((board.brightness - 0.5).abs() < 1e-5 && (board.contrast - 0.5).abs() < 1e-5);
        assert!((board.sharpness - 4.0).abs() < 1e-4, "the Laplacian is +4 and -4 by turns: {}", board.sharpness);
    }
}
