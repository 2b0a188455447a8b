//! From a file's bytes to the model's pixel tensor: recognise the format, check limits, decode, orient, resize, normalise.
//!
//! Owns the crates `image`, `turbojpeg`, `fast_image_resize`, `exif` and `quick-xml`. Knows neither models nor databases.
//!
//! Pixels are taken as sRGB. An embedded ICC profile is ignored, as in the pipelines that CLIP and its successors were trained
//! with. Transparency is dropped, 16-bit samples are reduced to 8 bits, and only the first frame of an animation is used.
//!
//! The modules in the order of their imports (each uses only those before it): `error`, `limits`, `rule`, `format`; `read`,
//! `xmp`, `metadata`, `measures`, `jpeg`; `decode`; `pixels`; `prepare`.

mod decode;
mod error;
mod format;
mod jpeg;
mod limits;
mod measures;
mod metadata;
mod pixels;
mod prepare;
mod read;
mod rule;
mod xmp;

pub use decode::{Picture, decode, decode_reduced, keywords_of};
pub use error::{ImageError, ImageErrorKind};
pub use format::{EXTENSIONS, Format};
pub use limits::Limits;
pub use measures::Measures;
pub use metadata::Metadata;
pub use pixels::{encoder_input, normalise, normalise_into, pixel_values, resize_crop, resized_size};
pub use prepare::{PictureFacts, Prepared, prepare};
pub use read::{open_file, read_file, read_opened};
pub use rule::{InputRule, ResizeFilter, View};

/// 8-bit pixels, red, green and blue.
pub use image::RgbImage;
