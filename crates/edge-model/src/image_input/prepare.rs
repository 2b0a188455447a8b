//! Prepares an image for scoring: computes the image encoder's input and the facts that the database records.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::decode::{Picture, decode_reduced};
use super::error::ImageError;
use super::format::Format;
use super::limits::Limits;
use super::measures::Measures;
use super::metadata::Metadata;
use super::pixels::encoder_input;
use super::rule::InputRule;

/// An image ready for the image encoder.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The facts that the database records.
    pub facts: PictureFacts,
    /// The image encoder's input before normalisation.
    pub input: RgbImage,
}

/// The facts about an image that the database records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureFacts {
    /// Format of the file, recognised by its first bytes.
    pub format: Format,
    /// Width of the image at full resolution, after orientation.
    pub width_px: u32,
    /// Height of the image at full resolution, after orientation.
    pub height_px: u32,
    /// Brightness, contrast and sharpness of the decoded pixels.
    pub measures: Measures,
    /// Metadata embedded in the file.
    pub metadata: Metadata,
}

/// Decodes an image at the resolution that `rule` needs, measures it and resizes it to the model's input.
///
/// # Errors
/// See [`ImageError`].
pub fn prepare(bytes: &[u8], limits: &Limits, rule: &InputRule) -> Result<Prepared, ImageError> {
    let picture = decode_reduced(bytes, limits, rule)?;
    let (measures, input) = (picture.measures(), encoder_input(&picture, rule));
    let Picture { format, width_px, height_px, metadata, .. } = picture;
    Ok(Prepared { facts: PictureFacts { format, width_px, height_px, measures, metadata }, input })
}
