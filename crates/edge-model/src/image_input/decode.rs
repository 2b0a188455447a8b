//! Decodes a file's bytes to upright RGB pixels, within limits.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, RgbImage};

use super::error::ImageError;
use super::format::Format;
use super::jpeg;
use super::limits::Limits;
use super::measures::Measures;
use super::metadata::{Metadata, metadata_of};
use super::rule::InputRule;

/// A decoded, upright image.
#[derive(Debug, Clone)]
pub struct Picture {
    /// 8-bit sRGB pixels after orientation; with [`decode_reduced`] possibly fewer than the file has.
    pub pixels: RgbImage,
    /// The format of the file.
    pub format: Format,
    /// Width of the image at full resolution, after orientation.
    pub width_px: u32,
    /// Height of the image at full resolution, after orientation.
    pub height_px: u32,
    /// Width and height of the image, measured in `pixels`. They can be fractions after a reduced decode: an image 517 pixels wide
    /// is decoded at 1/2 to 259 columns, and its extent is 258.5.
    pub extent: (f64, f64),
    /// Metadata embedded in the file.
    pub metadata: Metadata,
}

impl Picture {
    /// Brightness, contrast and sharpness of the decoded pixels.
    pub fn measures(&self) -> Measures {
        Measures::of(&self.pixels)
    }
}

/// Decodes at full resolution.
///
/// # Errors
/// See [`ImageError`].
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, ImageError> {
    decode_to(bytes, limits, None)
}

/// Decodes with just enough resolution for `rule`.
///
/// A JPEG much larger than the model's input is decoded at 1/2, 1/4 or 1/8 by scaling inside its DCT. The short side keeps at
/// least 2.5 times the pixels of the view, for tiles 1.25 times. After a resize to the centre or the whole image, the pixels of a photograph differ by at most 2/255 from those of
/// a full decode; single pixels of drawings with hard edges may differ by up to 5/255.
///
/// # Errors
/// See [`ImageError`].
///
/// ```
/// use edge_model::image_input::{self, InputRule, Limits, ResizeFilter};
/// # let mut png = std::io::Cursor::new(Vec::new());
/// # image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8, y as u8, 0])).write_to(&mut png, image::ImageFormat::Png)?;
/// # let bytes = png.into_inner();
/// let rule = InputRule {
///     size_px: 32, resize_short_px: 32, filter: ResizeFilter::Bicubic, mean: [0.5; 3], std: [0.25; 3],
///     views: Vec::new(),
/// };
/// let picture = image_input::decode_reduced(&bytes, &Limits::default(), &rule)?;
/// assert_eq!((picture.width_px, picture.height_px), (64, 48));
/// assert_eq!(image_input::pixel_values(&picture, &rule).shape(), [3, 32, 32]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decode_reduced(bytes: &[u8], limits: &Limits, rule: &InputRule) -> Result<Picture, ImageError> {
    decode_to(bytes, limits, Some(rule.least_short_px()))
}

fn decode_to(bytes: &[u8], limits: &Limits, least_short_px: Option<u32>) -> Result<Picture, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let format = Format::of(bytes).ok_or(ImageError::UnknownFormat)?;
    let fail = |e: image::ImageError| ImageError::Undecodable { format: format.name(), reason: e.to_string() };
    let (pixels, stored_size, orientation, metadata) = match format {
        Format::Jpeg => {
            let mut decoder = image::codecs::jpeg::JpegDecoder::new(Cursor::new(bytes)).map_err(fail)?;
            let size = checked_size(&decoder, limits)?;
            let (orientation, metadata) = describe(&mut decoder);
            let pixels = match jpeg::decode(bytes, size, least_short_px)? {
                Some(pixels) => pixels,
                None => to_rgb(decoder, format)?,
            };
            (pixels, size, orientation, metadata)
        }
        Format::Png => {
            // The decoder takes its allocation limit at construction. The pixel buffer itself is checked below.
            let mut allocation = image::Limits::no_limits();
            allocation.max_alloc = Some(limits.max_decode_bytes);
            let decoder = image::codecs::png::PngDecoder::with_limits(Cursor::new(bytes), allocation).map_err(fail)?;
            decode_generic(decoder, format, limits)?
        }
        Format::WebP => {
            let decoder = image::codecs::webp::WebPDecoder::new(Cursor::new(bytes)).map_err(fail)?;
            decode_generic(decoder, format, limits)?
        }
    };
    // 1, 2, 4 or 8: a reduced JPEG has its size divided by this and rounded up to whole pixels.
    let denominator = (f64::from(stored_size.0) / f64::from(pixels.width())).ceil();
    let mut upright = DynamicImage::ImageRgb8(pixels);
    upright.apply_orientation(orientation);
    let turned = matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    let (width_px, height_px) = if turned { (stored_size.1, stored_size.0) } else { stored_size };
    let pixels = upright.into_rgb8();
    let extent = (f64::from(width_px) / denominator, f64::from(height_px) / denominator);
    Ok(Picture { pixels, format, width_px, height_px, extent, metadata })
}

type Decoded = (RgbImage, (u32, u32), Orientation, Metadata);

fn decode_generic<D: ImageDecoder>(mut decoder: D, format: Format, limits: &Limits) -> Result<Decoded, ImageError> {
    let size = checked_size(&decoder, limits)?;
    let (orientation, metadata) = describe(&mut decoder);
    let pixels = to_rgb(decoder, format)?;
    Ok((pixels, size, orientation, metadata))
}

/// Reads all pixels through the `image` crate.
fn to_rgb<D: ImageDecoder>(decoder: D, format: Format) -> Result<RgbImage, ImageError> {
    let image = DynamicImage::from_decoder(decoder)
        .map_err(|e| ImageError::Undecodable { format: format.name(), reason: e.to_string() })?;
    Ok(image.into_rgb8())
}

/// Width and height as stored in the file, if they are within the limits.
fn checked_size<D: ImageDecoder>(decoder: &D, limits: &Limits) -> Result<(u32, u32), ImageError> {
    let (width, height) = decoder.dimensions();
    let count = u64::from(width) * u64::from(height);
    if count > limits.max_pixels {
        return Err(ImageError::TooLarge { what: "picture", is: count, limit: limits.max_pixels, unit: "pixels" });
    }
    // The decoder's own buffer and its RGB copy exist at the same time.
    let bytes = decoder.total_bytes().saturating_add(count * 3);
    if bytes > limits.max_decode_bytes {
        let limit = limits.max_decode_bytes;
        return Err(ImageError::TooLarge { what: "decoded picture", is: bytes, limit, unit: "bytes" });
    }
    Ok((width, height))
}

/// Reads orientation and metadata. Damaged metadata count as absent; the image is still usable.
fn describe<D: ImageDecoder>(decoder: &mut D) -> (Orientation, Metadata) {
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let exif = decoder.exif_metadata().ok().flatten();
    let xmp = decoder.xmp_metadata().ok().flatten();
    let iptc = decoder.iptc_metadata().ok().flatten();
    (orientation, metadata_of(exif, xmp.as_deref(), iptc.as_deref()))
}

/// Reads the keywords from a file's metadata without decoding its pixels.
pub fn keywords_of(bytes: &[u8]) -> Vec<String> {
    let cursor = Cursor::new(bytes);
    let metadata = match Format::of(bytes) {
        Some(Format::Jpeg) => image::codecs::jpeg::JpegDecoder::new(cursor).map(|mut d| describe(&mut d).1),
        Some(Format::Png) => image::codecs::png::PngDecoder::new(cursor).map(|mut d| describe(&mut d).1),
        Some(Format::WebP) => image::codecs::webp::WebPDecoder::new(cursor).map(|mut d| describe(&mut d).1),
        None => return Vec::new(),
    };
    metadata.map(|m| m.keywords).unwrap_or_default()
}
