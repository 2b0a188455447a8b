//! From a file's bytes to the model's pixel tensor: recognise, check limits, decode, orient, resize, normalise.
//!
//! Owns the crates `image`, `turbojpeg`, `fast_image_resize`, `exif` and `roxmltree`. Knows neither models nor databases.
//!
//! Pixels are taken as sRGB: an embedded ICC profile is ignored, as the pipelines that CLIP and its descendants were trained
//! with ignore it. Transparency is dropped, 16-bit samples are reduced to 8, of an animation the first frame counts.

mod decode;
mod error;
mod jpeg;
mod measures;
mod metadata;
mod pixels;
mod prepare;
mod rule;

pub use decode::{Picture, decode, decode_reduced, keywords_of};
pub use error::{ImageError, ImageErrorKind};
pub use measures::Measures;
pub use metadata::Metadata;
pub use pixels::{normalise, normalise_into, pixel_values, resize_crop, resized_size, square};
pub use prepare::{Prepared, prepare};
pub use rule::{InputRule, ResizeFilter};

/// 8-bit pixels, red, green and blue.
pub use image::RgbImage;

use std::fs::{File, Metadata as FileMetadata};
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What a single image may cost. All are checked before the pixels are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest file.
    pub max_file_bytes: u64,
    /// Most pixels, width times height as the header states them.
    pub max_pixels: u64,
    /// Most memory that the decoded pixels may take.
    pub max_decode_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_file_bytes: 256 << 20, max_pixels: 200_000_000, max_decode_bytes: 1 << 30 }
    }
}

/// File formats that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JPEG (JFIF, Exif).
    Jpeg,
    /// Portable Network Graphics.
    Png,
    /// WebP, lossy and lossless.
    WebP,
}

impl Format {
    /// Lower-case name, as it is stored in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
        }
    }

    /// The format of a name that [`Format::name`] gave.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Jpeg, Self::Png, Self::WebP].into_iter().find(|format| format.name() == name)
    }

    /// Recognises a file by its first bytes, whatever its name says.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match image::guess_format(bytes).ok()? {
            image::ImageFormat::Jpeg => Some(Self::Jpeg),
            image::ImageFormat::Png => Some(Self::Png),
            image::ImageFormat::WebP => Some(Self::WebP),
            _ => None,
        }
    }
}

/// File name extensions, lower case, of the formats above.
pub const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp"];

/// Reads a whole file once, for hashing and decoding alike. Never reads more than the limit, also when the file grows.
///
/// # Errors
/// Unreadable, empty, not a regular file, or larger than `limits.max_file_bytes`.
pub fn read_file(path: &Path, limits: &Limits) -> Result<Vec<u8>, ImageError> {
    read_file_and_metadata(path, limits).map(|(bytes, _)| bytes)
}

/// Like [`read_file`], with the metadata that the very file that was read has after the reading: where they equal what was
/// seen before, nobody wrote to it meanwhile.
///
/// # Errors
/// As those of [`read_file`].
pub fn read_file_and_metadata(path: &Path, limits: &Limits) -> Result<(Vec<u8>, FileMetadata), ImageError> {
    let mut file = File::open(path).map_err(|e| ImageError::io(&e))?;
    let metadata = file.metadata().map_err(|e| ImageError::io(&e))?;
    if !metadata.is_file() {
        return Err(ImageError::NotAFile);
    }
    let too_large =
        |bytes: u64| ImageError::TooLarge { what: "file", is: bytes, limit: limits.max_file_bytes, unit: "bytes" };
    if metadata.len() > limits.max_file_bytes {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.by_ref().take(limits.max_file_bytes + 1).read_to_end(&mut bytes).map_err(|e| ImageError::io(&e))?;
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if bytes.len() as u64 > limits.max_file_bytes {
        return Err(too_large(bytes.len() as u64));
    }
    Ok((bytes, file.metadata().map_err(|e| ImageError::io(&e))?))
}
