//! The part of a bundle's manifest that states how an image becomes the pixel tensor.

use serde::{Deserialize, Serialize};

/// The resampling filter of the resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeFilter {
    /// Catmull-Rom bicubic (a = -0.5), widened by the scale factor when shrinking, rounded to 8 bits after each pass. This is PIL's
    /// `Image.resize(..., BICUBIC)`, which CLIP was trained with.
    Bicubic,
}

/// The steps from decoded sRGB pixels to `pixel_values`, `f32 [3, size_px, size_px]`, channels R, G, B.
///
/// The image is resized so that its short side is `resize_short_px` (the aspect ratio is kept), the centre `size_px` x `size_px`
/// pixels are cut out, and each value v (0..=255) becomes `(v / 255 - mean) / std`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputRule {
    /// Side of the image encoder's square input, in pixels.
    pub size_px: u32,
    /// Short side after the resize, in pixels; at least `size_px`.
    pub resize_short_px: u32,
    /// The filter of the resize.
    pub filter: ResizeFilter,
    /// Mean per channel, on the scale 0..1.
    pub mean: [f32; 3],
    /// Standard deviation per channel, on the scale 0..1; greater than zero.
    pub std: [f32; 3],
}

impl InputRule {
    /// Describes the first invalid value; `None` if the rule is valid.
    pub fn problem(&self) -> Option<String> {
        if self.size_px == 0 || self.size_px > 4096 {
            return Some(format!("image_input.size_px is {}; it must be 1 to 4096", self.size_px));
        }
        if self.resize_short_px < self.size_px || self.resize_short_px > 8192 {
            return Some(format!(
                "image_input.resize_short_px is {}; it must be size_px ({}) to 8192",
                self.resize_short_px, self.size_px
            ));
        }
        if self.std.iter().any(|s| !(s.is_finite() && *s > 0.0)) || self.mean.iter().any(|m| !m.is_finite()) {
            return Some("image_input.mean and .std must be finite, std greater than zero".to_owned());
        }
        None
    }
}
