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

/// A square that shows an image, or parts of it, to the image encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum View {
    /// The centre of the image, resized so that its short side is `resize_short_px`; the aspect ratio is kept.
    Centre {
        /// Side of the view, in pixels.
        size_px: u32,
    },
    /// The whole image, stretched to a square.
    Whole {
        /// Side of the view, in pixels.
        size_px: u32,
    },
    /// Squares from all over the image at its own size, side by side. The image is divided into `per_side` x `per_side` parts, and
    /// each square is the centre of one part.
    Tiles {
        /// Side of the view, in pixels.
        size_px: u32,
        /// Number of squares in each direction; `size_px` is a multiple of it.
        per_side: u32,
        /// An image whose short side is longer is first resized to this short side. One whose short side is shorter than `size_px` is
        /// enlarged to that.
        max_short_px: u32,
    },
}

impl View {
    /// Side of the view, in pixels.
    pub fn size_px(self) -> u32 {
        match self {
            Self::Centre { size_px } | Self::Whole { size_px } | Self::Tiles { size_px, .. } => size_px,
        }
    }

    fn problem(self, rule: &InputRule) -> Option<String> {
        let size_px = self.size_px();
        if size_px == 0 || size_px > rule.size_px {
            let width = rule.size_px;
            return Some(format!("a view's size_px is {size_px}; it must be 1 to the rule's size_px ({width})"));
        }
        match self {
            Self::Tiles { per_side, .. } if per_side == 0 || !size_px.is_multiple_of(per_side) => {
                Some(format!("a view's size_px ({size_px}) must be a multiple of its per_side ({per_side})"))
            }
            Self::Tiles { max_short_px, .. } if !(size_px..=8192).contains(&max_short_px) => {
                Some(format!("a view's max_short_px is {max_short_px}; it must be its size_px ({size_px}) to 8192"))
            }
            Self::Centre { .. } | Self::Whole { .. } | Self::Tiles { .. } => None,
        }
    }
}

/// Most views of an image.
const MAX_VIEWS: usize = 16;

/// The steps from decoded sRGB pixels to `pixel_values`, `f32 [3, height, size_px]`, channels R, G, B.
///
/// The views lie one below the other, each at the left edge, and the height is the sum of their sides. Without `views` the centre of
/// the image is the only view, with a side of `size_px`. Each value v (0..=255) becomes `(v / 255 - mean) / std`. Pixels beside a
/// narrow view are zero before this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputRule {
    /// Width of the image encoder's input, in pixels.
    pub size_px: u32,
    /// Short side after the resize for the view [`View::Centre`], in pixels; at least `size_px`.
    pub resize_short_px: u32,
    /// The filter of the resize.
    pub filter: ResizeFilter,
    /// Mean per channel, on the scale 0..1.
    pub mean: [f32; 3],
    /// Standard deviation per channel, on the scale 0..1; greater than zero.
    pub std: [f32; 3],
    /// The views of an image, from top to bottom; empty for the centre alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<View>,
}

impl InputRule {
    /// The views of an image, from top to bottom; at least one.
    pub fn all_views(&self) -> Vec<View> {
        if self.views.is_empty() { vec![View::Centre { size_px: self.size_px }] } else { self.views.clone() }
    }

    /// Width and height of the image encoder's input, in pixels.
    pub fn input_size(&self) -> (u32, u32) {
        (self.size_px, self.all_views().into_iter().map(View::size_px).sum())
    }

    /// Describes each view in a few words, such as `the whole image, stretched to 288 x 288 px`.
    pub fn views_in_words(&self) -> Vec<String> {
        let words = |view: View| match view {
            View::Centre { size_px } => {
                let short_px = self.resize_short_px;
                format!("the centre {size_px} x {size_px} px of the image resized to a short side of {short_px} px")
            }
            View::Whole { size_px } => format!("the whole image, stretched to {size_px} x {size_px} px"),
            View::Tiles { size_px, per_side, max_short_px } => {
                let tile_px = size_px / per_side;
                format!(
                    "{} squares of {tile_px} x {tile_px} px from all over the image, whose short side is at most {max_short_px} px",
                    per_side * per_side
                )
            }
        };
        self.all_views().into_iter().map(words).collect()
    }

    /// Short side, in pixels, that an image needs for all views. A larger image can be decoded at a fraction of its size. The factors
    /// keep the difference after the resize small.
    pub(super) fn least_short_px(&self) -> u32 {
        let least = |view: View| match view {
            View::Centre { .. } => self.resize_short_px * 5 / 2,
            View::Whole { size_px } => size_px * 5 / 2,
            // Larger pixels would be lost anyway, and for a factor of 5/2 most photographs had to be decoded at full size.
            View::Tiles { max_short_px, .. } => max_short_px * 5 / 4,
        };
        self.all_views().into_iter().map(least).max().unwrap_or_default()
    }

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
        if self.views.len() > MAX_VIEWS {
            return Some(format!("image_input.views has {} views; at most {MAX_VIEWS} are allowed", self.views.len()));
        }
        if let Some(problem) = self.views.iter().find_map(|view| view.problem(self)) {
            return Some(format!("image_input.views: {problem}"));
        }
        if self.std.iter().any(|s| !(s.is_finite() && *s > 0.0)) || self.mean.iter().any(|m| !m.is_finite()) {
            return Some("image_input.mean and .std must be finite, std greater than zero".to_owned());
        }
        None
    }
}
