//! JPEG pixels: libjpeg-turbo with scaling inside the DCT where it is built in, pure Rust where it is not.

use std::io::Cursor;

use image::RgbImage;
use image::codecs::jpeg::JpegDecoder;

use super::decode::to_rgb;
use super::{Format, ImageError};

type HeaderDecoder<'a> = JpegDecoder<Cursor<&'a [u8]>>;

/// Decodes; `least_short_px` allows a reduction by 1/2, 1/4 or 1/8 that leaves at least so many pixels on the short side.
#[cfg(not(feature = "turbojpeg"))]
pub(super) fn decode(
    _bytes: &[u8],
    header: HeaderDecoder<'_>,
    _size: (u32, u32),
    _least_short_px: Option<u32>,
) -> Result<RgbImage, ImageError> {
    to_rgb(header, Format::Jpeg)
}

/// Decodes; `least_short_px` allows a reduction by 1/2, 1/4 or 1/8 that leaves at least so many pixels on the short side.
#[cfg(feature = "turbojpeg")]
pub(super) fn decode(
    bytes: &[u8],
    header: HeaderDecoder<'_>,
    size: (u32, u32),
    least_short_px: Option<u32>,
) -> Result<RgbImage, ImageError> {
    use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat};

    let fail = |reason: String| ImageError::Undecodable { format: Format::Jpeg.name(), reason };
    let mut decompressor = Decompressor::new().map_err(|e| fail(e.to_string()))?;
    let found = decompressor.read_header(bytes).map_err(|e| fail(e.to_string()))?;
    // libjpeg-turbo has no conversion from CMYK to RGB, and scales no lossless JPEG.
    if matches!(found.colorspace, Colorspace::CMYK | Colorspace::YCCK) || found.is_lossless {
        return to_rgb(header, Format::Jpeg);
    }
    if (found.width, found.height) != (size.0 as usize, size.1 as usize) {
        return Err(fail("its headers contradict each other".to_owned()));
    }
    let factor = reduction(size, least_short_px);
    decompressor.set_scaling_factor(factor).map_err(|e| fail(e.to_string()))?;
    // A progressive file of thousands of tiny scans is a way to keep a decoder busy for hours.
    decompressor.set_scan_limit(500).map_err(|e| fail(e.to_string()))?;
    let scaled = found.scaled(factor);
    let pitch = scaled.width * 3;
    let mut pixels = vec![0_u8; pitch * scaled.height];
    let output = Image {
        pixels: pixels.as_mut_slice(),
        width: scaled.width,
        pitch,
        height: scaled.height,
        format: PixelFormat::RGB,
    };
    if let Err(error) = decompressor.decompress(bytes, output) {
        let reason = error.to_string();
        if !is_harmless(&reason) {
            return Err(fail(reason));
        }
    }
    let (width, height) = (scaled.width as u32, scaled.height as u32);
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| fail("its size overflows".to_owned()))
}

/// Some cameras pad their segments; libjpeg warns, and every pixel is there.
#[cfg(feature = "turbojpeg")]
fn is_harmless(warning: &str) -> bool {
    warning.contains("extraneous bytes before marker")
}

#[cfg(feature = "turbojpeg")]
fn reduction(size: (u32, u32), least_short_px: Option<u32>) -> turbojpeg::ScalingFactor {
    use turbojpeg::ScalingFactor as Factor;
    let Some(least) = least_short_px else { return Factor::ONE };
    let short = size.0.min(size.1);
    [Factor::ONE_EIGHTH, Factor::ONE_QUARTER, Factor::ONE_HALF]
        .into_iter()
        .find(|f| short as usize * f.num() / f.denom() >= least as usize)
        .unwrap_or(Factor::ONE)
}
