//! Everything that is wanted of one image, in one go.

use image::RgbImage;

use super::{ImageError, InputRule, Limits, Measures, Metadata, decode_reduced, square};

/// What is wanted of an image besides its bytes.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The file's format, see [`super::Format::name`].
    pub format: &'static str,
    /// Width of the full picture after orientation.
    pub width_px: u32,
    /// Height of the full picture after orientation.
    pub height_px: u32,
    /// Cheap measures of the pixels.
    pub measures: Measures,
    /// What the file says about itself.
    pub metadata: Metadata,
    /// What the image encoder sees, not yet normalised: S x S pixels.
    pub square: RgbImage,
}

/// Decodes with the resolution that `rule` needs, measures and makes the model's input.
///
/// # Errors
/// See [`ImageError`].
pub fn prepare(bytes: &[u8], limits: &Limits, rule: &InputRule) -> Result<Prepared, ImageError> {
    let picture = decode_reduced(bytes, limits, rule)?;
    Ok(Prepared {
        format: picture.format.name(),
        width_px: picture.width_px,
        height_px: picture.height_px,
        measures: picture.measures(),
        square: square(&picture, rule),
        metadata: picture.metadata,
    })
}
