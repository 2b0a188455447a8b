//! Resize, crop and normalise: from decoded RGB pixels to `pixel_values`.

use fast_image_resize::images::{TypedImage, TypedImageRef as Borrowed};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use ndarray::Array3;

use super::decode::Picture;
use super::rule::{InputRule, ResizeFilter};

/// Returns the `pixel_values` of one image, `f32 [3, size_px, size_px]`; see [`InputRule`] for the steps.
pub fn pixel_values(picture: &Picture, rule: &InputRule) -> Array3<f32> {
    normalise(&square(picture, rule), rule)
}

/// Returns the image encoder's input before normalisation: the centre square of `size_px` x `size_px` pixels.
pub fn square(picture: &Picture, rule: &InputRule) -> RgbImage {
    let (width, height) = resized_size((picture.width_px, picture.height_px), rule.resize_short_px);
    let (left, top) = ((width - rule.size_px) / 2, (height - rule.size_px) / 2);
    resize_crop(picture, rule, rule.size_px, (left, top))
}

/// Width and height after the short side was resized to `short_px`. The long side is scaled by the same factor and rounded down,
/// as in `transformers` and `torchvision`.
pub fn resized_size((width, height): (u32, u32), short_px: u32) -> (u32, u32) {
    let long = |long: u32, short: u32| {
        let scaled = u64::from(short_px) * u64::from(long) / u64::from(short.max(1));
        u32::try_from(scaled).unwrap_or(u32::MAX).max(short_px)
    };
    if width <= height { (short_px, long(height, width)) } else { (long(width, height), short_px) }
}

/// Returns the square of `size_px` pixels whose upper left corner is at (`left`, `top`) of the resized image. Only the square and a
/// margin are computed, so that an image of 1 x 20,000 pixels costs little more than any other.
///
/// # Panics
/// If the square is not inside the resized image, see [`resized_size`].
pub fn resize_crop(picture: &Picture, rule: &InputRule, size_px: u32, (left, top): (u32, u32)) -> RgbImage {
    let pixels = &picture.pixels;
    let (width, height) = pixels.dimensions();
    let (new_width, new_height) = resized_size((picture.width_px, picture.height_px), rule.resize_short_px);
    assert!(left + size_px <= new_width && top + size_px <= new_height, "the crop is not inside the resized image");
    let across = Span::around(left, size_px, new_width, picture.extent.0);
    let down = Span::around(top, size_px, new_height, picture.extent.1);
    let ResizeFilter::Bicubic = rule.filter;
    // Two calls, because PIL resizes the rows first and rounds to 8 bits before it resizes the columns. In one call the crate would
    // start with the columns.
    let first_row = down.source_start.floor();
    let rows = ((down.source_start + down.source_length).ceil().min(f64::from(height)) - first_row) as u32;
    let source = Borrowed::from_buffer(width, height, pixels.as_raw()).map_err(|e| e.to_string());
    let result = source.and_then(|source| {
        let box_across = (across.source_start, first_row, across.source_length, f64::from(rows));
        let half = bicubic(&source, box_across, across.length, rows)?;
        let box_down = (0.0, down.source_start - first_row, f64::from(across.length), down.source_length);
        bicubic(&half, box_down, across.length, down.length)
    });
    let resized = match result {
        Ok(resized) => resized,
        // The crate can only refuse a wrong buffer length or crop box, and both are right by construction.
        Err(reason) => panic!("resizing {width}x{height} to {new_width}x{new_height}: {reason}"),
    };
    let (skip_x, skip_y) = (left - across.start, top - down.start);
    let rows = resized.pixels().chunks_exact(across.length as usize).skip(skip_y as usize).take(size_px as usize);
    let bytes = rows.flat_map(|row| row[skip_x as usize..].iter().take(size_px as usize)).flat_map(|pixel| pixel.0);
    let mut square = RgbImage::new(size_px, size_px);
    square.as_flat_samples_mut().samples.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    square
}

/// Resizes the `source_box` (left, top, width, height) of `source` to `width` x `height` pixels, bicubic.
fn bicubic(
    source: &impl ImageView<Pixel = U8x3>,
    source_box: (f64, f64, f64, f64),
    width: u32,
    height: u32,
) -> Result<TypedImage<'static, U8x3>, String> {
    let (left, top, box_width, box_height) = source_box;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
        .crop(left, top, box_width, box_height);
    let mut target = TypedImage::<U8x3>::new(width, height);
    Resizer::new().resize_typed(source, &mut target, &options).map_err(|e| e.to_string())?;
    Ok(target)
}

/// An interval on one axis of the resized image, and the interval of the source image that it is computed from.
struct Span {
    start: u32,
    length: u32,
    source_start: f64,
    source_length: f64,
}

impl Span {
    /// Returns the interval `left..left + size` of the resized image, with a margin on both sides. The resize filter reaches two pixels of
    /// the coarser image to each side. Without the margin it would be cut off at the borders of the source interval.
    fn around(left: u32, size: u32, resized: u32, source: f64) -> Self {
        let scale = source / f64::from(resized);
        let margin = (3.0 / scale.min(1.0)).ceil() as u32;
        let start = left.saturating_sub(margin);
        let end = left.saturating_add(size).saturating_add(margin).min(resized);
        let source_start = f64::from(start) * scale;
        let source_length = (f64::from(end - start) * scale).min(source - source_start);
        Self { start, length: end - start, source_start, source_length }
    }
}

/// Returns `(v / 255 - mean) / std` for every value v: `f32 [3, H, W]`.
pub fn normalise(pixels: &RgbImage, rule: &InputRule) -> Array3<f32> {
    let mut values = Array3::<f32>::zeros((3, pixels.height() as usize, pixels.width() as usize));
    normalise_into(pixels, rule, values.as_slice_mut().unwrap_or_default());
    values
}

/// Writes the result of [`normalise`] into `values`, the part of a batch that holds this image: `[3, H, W]`.
///
/// # Panics
/// If `values` does not have three values per pixel.
pub fn normalise_into(pixels: &RgbImage, rule: &InputRule, values: &mut [f32]) {
    assert_eq!(values.len(), pixels.as_raw().len(), "values holds three values per pixel");
    let count = values.len() / 3;
    for channel in 0..3 {
        let (scale, shift) = (1.0 / (255.0 * rule.std[channel]), rule.mean[channel] / rule.std[channel]);
        let bytes = pixels.as_raw().as_chunks::<3>().0;
        for (value, pixel) in values[channel * count..][..count].iter_mut().zip(bytes) {
            *value = f32::from(pixel[channel]) * scale - shift;
        }
    }
}
