//! Resize, crop and normalise: from decoded RGB pixels to `pixel_values`.

use fast_image_resize::images::{TypedImage, TypedImageRef as Borrowed};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use ndarray::Array3;

use super::decode::Picture;
use super::rule::{InputRule, ResizeFilter, View};

/// Returns the `pixel_values` of one image, `f32 [3, height, size_px]`; see [`InputRule`] for the steps.
pub fn pixel_values(picture: &Picture, rule: &InputRule) -> Array3<f32> {
    normalise(&encoder_input(picture, rule), rule)
}

/// Returns the image encoder's input before normalisation: the views, one below the other.
pub fn encoder_input(picture: &Picture, rule: &InputRule) -> RgbImage {
    let (width, height) = rule.input_size();
    let mut input = RgbImage::new(width, height);
    let mut top = 0;
    for view in rule.all_views() {
        let pixels = match view {
            View::Centre { size_px } => centre(picture, rule, size_px),
            View::Whole { size_px } => {
                resized_part(picture, rule.filter, (size_px, size_px), [size_px, size_px], (0, 0))
            }
            View::Tiles { size_px, per_side, max_short_px } => {
                tiles(picture, rule.filter, [size_px, per_side, max_short_px])
            }
        };
        paste(&mut input, &pixels, (0, top));
        top += view.size_px();
    }
    input
}

/// Copies `part` into `image`, its upper left corner to (`left`, `top`).
fn paste(image: &mut RgbImage, part: &RgbImage, (left, top): (u32, u32)) {
    let (row, part_row) = (3 * image.width() as usize, 3 * part.width() as usize);
    let rows = image.as_flat_samples_mut().samples.chunks_exact_mut(row).skip(top as usize);
    for (to, from) in rows.zip(part.as_raw().chunks_exact(part_row)) {
        to[3 * left as usize..][..part_row].copy_from_slice(from);
    }
}

/// The view [`View::Centre`].
fn centre(picture: &Picture, rule: &InputRule, size_px: u32) -> RgbImage {
    let (width, height) = resized_size((picture.width_px, picture.height_px), rule.resize_short_px);
    resize_crop(picture, rule, size_px, ((width - size_px) / 2, (height - size_px) / 2))
}

/// The view [`View::Tiles`].
fn tiles(picture: &Picture, filter: ResizeFilter, [size_px, per_side, max_short_px]: [u32; 3]) -> RgbImage {
    let own_size = (picture.width_px, picture.height_px);
    let short_px = own_size.0.min(own_size.1).clamp(size_px, max_short_px);
    let resized = resized_size(own_size, short_px);
    let tile_px = size_px / per_side;
    // The corner of a tile in the middle of its part of the image.
    let corner = |length: u32, part: u32| {
        let twice = u64::from(length) * u64::from(2 * part + 1) / u64::from(per_side);
        u32::try_from(twice / 2).unwrap_or(u32::MAX).saturating_sub(tile_px / 2).min(length - tile_px)
    };
    let mut view = RgbImage::new(size_px, size_px);
    for (down, across) in (0..per_side).flat_map(|down| (0..per_side).map(move |across| (down, across))) {
        let at = (corner(resized.0, across), corner(resized.1, down));
        let tile = resized_part(picture, filter, resized, [tile_px, tile_px], at);
        paste(&mut view, &tile, (across * tile_px, down * tile_px));
    }
    view
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

/// Returns the square of `size_px` pixels whose upper left corner is at (`left`, `top`) of the image, resized to a short side of
/// `resize_short_px`.
///
/// # Panics
/// If the square is not inside the resized image, see [`resized_size`].
pub fn resize_crop(picture: &Picture, rule: &InputRule, size_px: u32, corner: (u32, u32)) -> RgbImage {
    let resized = resized_size((picture.width_px, picture.height_px), rule.resize_short_px);
    resized_part(picture, rule.filter, resized, [size_px, size_px], corner)
}

/// Returns `width` x `height` pixels from the corner (`left`, `top`) on of the image resized to `new_size`. Only this part and a margin
/// are computed, so that an image of 1 x 20,000 pixels costs little more than any other.
///
/// # Panics
/// If the part is not inside the resized image.
fn resized_part(
    picture: &Picture,
    filter: ResizeFilter,
    (new_width, new_height): (u32, u32),
    [part_width, part_height]: [u32; 2],
    (left, top): (u32, u32),
) -> RgbImage {
    let pixels = &picture.pixels;
    let (width, height) = pixels.dimensions();
    let is_inside = left + part_width <= new_width && top + part_height <= new_height;
    assert!(is_inside, "the part is not inside the resized image");
    let across = Span::around(left, part_width, new_width, picture.extent.0);
    let down = Span::around(top, part_height, new_height, picture.extent.1);
    let ResizeFilter::Bicubic = filter;
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
    let rows = resized.pixels().chunks_exact(across.length as usize).skip(skip_y as usize);
    let bytes = rows.flat_map(|row| row[skip_x as usize..].iter().take(part_width as usize)).flat_map(|pixel| pixel.0);
    let mut part = RgbImage::new(part_width, part_height);
    part.as_flat_samples_mut().samples.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    part
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
