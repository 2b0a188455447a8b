//! Decodes JPEG pixels with libjpeg-turbo, if the program is built with it. The decoder can reduce the image inside its DCT.

use image::RgbImage;

use super::error::ImageError;

/// Returns `None`: without libjpeg-turbo every JPEG is decoded by the `image` crate, at full size.
#[cfg(not(feature = "turbojpeg"))]
pub(super) fn decode(
    _bytes: &[u8],
    _size: (u32, u32),
    _least_short_px: Option<u32>,
) -> Result<Option<RgbImage>, ImageError> {
    Ok(None)
}

/// Decodes a JPEG of `size` (width, height). With `least_short_px` the image may come out reduced to 1/2, 1/4 or 1/8, as long as its
/// short side keeps at least that many pixels. Returns `None` for kinds of JPEG that libjpeg-turbo cannot decode to RGB.
#[cfg(feature = "turbojpeg")]
pub(super) fn decode(
    bytes: &[u8],
    size: (u32, u32),
    least_short_px: Option<u32>,
) -> Result<Option<RgbImage>, ImageError> {
    use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat};

    let fail = |reason: String| ImageError::Undecodable { format: super::format::Format::Jpeg.name(), reason };
    let mut decompressor = Decompressor::new().map_err(|e| fail(e.to_string()))?;
    let found = decompressor.read_header(bytes).map_err(|e| fail(e.to_string()))?;
    // libjpeg-turbo does not convert CMYK to RGB and does not scale lossless JPEGs.
    if matches!(found.colorspace, Colorspace::CMYK | Colorspace::YCCK) || found.is_lossless {
        return Ok(None);
    }
    if (found.width, found.height) != (size.0 as usize, size.1 as usize) {
        return Err(fail("its headers contradict each other".to_owned()));
    }
    let factor = reduction(size, least_short_px);
    decompressor.set_scaling_factor(factor).map_err(|e| fail(e.to_string()))?;
    // A progressive file of thousands of tiny scans could keep a decoder busy for hours.
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
    RgbImage::from_raw(width, height, pixels).map(Some).ok_or_else(|| fail("its size overflows".to_owned()))
}

/// Whether libjpeg decodes all pixels of a file for which it gives this warning. Some cameras pad the segments of their files, which
/// libjpeg reports in this way.
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
