//! Brightness, contrast and sharpness of an image. They are stored beside its scores, so that a query can select sharp or dark
//! images without a model.

use image::RgbImage;

/// Measures of the luma (Rec. 601, 0..=1) of the decoded pixels.
///
/// A JPEG much larger than the model's input is decoded at 1/2, 1/4 or 1/8, so sharpness is comparable only between images of
/// about the same size, such as those of one camera.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Measures {
    /// Mean luma, 0 (black) to 1 (white).
    pub brightness: f32,
    /// Standard deviation of luma, 0 to 0.5.
    pub contrast: f32,
    /// Standard deviation of the 4-neighbour Laplacian of luma.
    pub sharpness: f32,
}

/// Luma of a white pixel. Luma is the sum of red, green and blue with PIL's Rec. 601 weights, times 256, as an integer. Sums of
/// integers can be vectorised. Sums of floats depend on the order of addition and would take as long as decoding the image.
const ONE: f64 = (255 << 8) as f64;

impl Measures {
    /// Measures `pixels`. All measures of an image without pixels are zero.
    pub fn of(pixels: &RgbImage) -> Self {
        let width = pixels.width() as usize;
        if width == 0 {
            return Self { brightness: 0.0, contrast: 0.0, sharpness: 0.0 };
        }
        let (mut luma, mut laplacian) = (Sums::default(), Sums::default());
        // The last three rows of luma, the newest at the end.
        let mut rows = [vec![0_i32; width], vec![0; width], vec![0; width]];
        let mut inner = vec![0; width.saturating_sub(2)];
        for (y, row) in pixels.as_raw().chunks_exact(3 * width).enumerate() {
            rows.rotate_left(1);
            let [above, middle, below] = &mut rows;
            for (luma, pixel) in below.iter_mut().zip(row.as_chunks::<3>().0) {
                let [red, green, blue] = pixel.map(i32::from);
                *luma = (19_595 * red + 38_470 * green + 7_471 * blue) >> 8;
            }
            luma.add(below);
            if y >= 2 && width >= 3 {
                let sides = middle.iter().zip(&middle[2..]).map(|(left, right)| left + right);
                let around = above[1..].iter().zip(&below[1..]).map(|(above, below)| above + below).zip(sides);
                for ((value, centre), (ends, sides)) in inner.iter_mut().zip(&middle[1..]).zip(around) {
                    *value = ends + sides - 4 * centre;
                }
                laplacian.add(&inner);
            }
        }
        let (brightness, contrast) = luma.mean_and_deviation();
        Self { brightness, contrast, sharpness: laplacian.mean_and_deviation().1 }
    }
}

/// Count, sum and sum of squares of integers below 2^19. The sum of squares of one row fits into 64 bits, that of an image into
/// 128.
#[derive(Default)]
struct Sums {
    count: u64,
    sum: i64,
    squares: u128,
}

impl Sums {
    fn add(&mut self, row: &[i32]) {
        self.count += row.len() as u64;
        self.sum += row.iter().map(|&value| i64::from(value)).sum::<i64>();
        let square = |&value: &i32| u64::from(value.unsigned_abs()) * u64::from(value.unsigned_abs());
        self.squares += u128::from(row.iter().map(square).sum::<u64>());
    }

    /// Returns mean and standard deviation of the added integers, divided by the luma of white.
    fn mean_and_deviation(&self) -> (f32, f32) {
        let count = self.count.max(1) as f64;
        let mean = self.sum as f64 / count;
        let deviation = (self.squares as f64 / count - mean * mean).max(0.0).sqrt();
        ((mean / ONE) as f32, (deviation / ONE) as f32)
    }
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
        assert!(
            (board.sharpness - 4.0).abs() < 1e-4,
            "the Laplacian alternates between +4 and -4: {}",
            board.sharpness
        );
    }

    /// Brightness, contrast and sharpness by their definitions, in 64-bit floats.
    fn plain(pixels: &RgbImage) -> [f64; 3] {
        let (width, height) = pixels.dimensions();
        let luma = |x: u32, y: u32| {
            let [red, green, blue] = pixels.get_pixel(x, y).0.map(f64::from);
            (0.299 * red + 0.587 * green + 0.114 * blue) / 255.0
        };
        let of = |values: Vec<f64>| {
            let count = values.len().max(1) as f64;
            let mean = values.iter().sum::<f64>() / count;
            (mean, (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count).sqrt())
        };
        let all = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let (brightness, contrast) = of(all.clone().map(|(x, y)| luma(x, y)).collect());
        let is_inner = |&(x, y): &(u32, u32)| x > 0 && y > 0 && x + 1 < width && y + 1 < height;
        let laplacian = |(x, y)| luma(x - 1, y) + luma(x + 1, y) + luma(x, y - 1) + luma(x, y + 1) - 4.0 * luma(x, y);
        [brightness, contrast, of(all.filter(is_inner).map(laplacian).collect()).1]
    }

    #[test]
    fn every_size_is_measured_as_the_definitions_say() {
        for (width, height) in [(1, 1), (2, 5), (3, 3), (3, 1), (17, 9), (64, 33), (131, 70)] {
            let noise = |x: u32, y: u32| (x * 7919 + y * 104_729 + x * y * 31) as u8;
            let picture =
                RgbImage::from_fn(width, height, |x, y| image::Rgb([noise(x, y), noise(y, x), noise(x + 3, y)]));
            let Measures { brightness, contrast, sharpness } = Measures::of(&picture);
            for (found, expected) in [brightness, contrast, sharpness].into_iter().zip(plain(&picture)) {
                assert!((f64::from(found) - expected).abs() < 3e-5, "{width}x{height}: {found} for {expected}");
            }
        }
        assert_eq!(Measures::of(&RgbImage::new(0, 0)), Measures { brightness: 0.0, contrast: 0.0, sharpness: 0.0 });
    }
}
