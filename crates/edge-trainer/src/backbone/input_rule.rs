//! The input rules of the backbones: how an image becomes the image encoder's input.

use std::path::Path;

use edge_model::image_input::{InputRule, ResizeFilter, View};
use serde::Deserialize;

use super::BackboneError;
use crate::TrainOptions;
use crate::model::clip::ClipConfig;
use crate::model::kernel_encoder::VIEWS;
use crate::model::measure::{MEAN, STD};

/// Mean and standard deviation of ImageNet's pixels, as used by timm and torchvision.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// Mean and standard deviation of CLIP's own preprocessing, for directories without a preprocessor file.
pub(super) const CLIP: ([f32; 3], [f32; 3]) =
    ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.261_302_6, 0.275_777_1]);

/// The rule of the small image encoder.
pub(super) fn small(options: &TrainOptions) -> InputRule {
    InputRule {
        size_px: options.crop_px.unwrap_or(384),
        resize_short_px: options.resize_short_px,
        filter: ResizeFilter::Bicubic,
        mean: [MEAN; 3],
        std: [STD; 3],
        views: Vec::new(),
    }
}

/// The rule of an image encoder with an EfficientNet-Lite.
pub(super) fn lite(options: &TrainOptions) -> InputRule {
    let size_px = VIEWS.map(View::size_px).into_iter().max().unwrap_or_default();
    InputRule { size_px, views: VIEWS.to_vec(), ..small(options) }
}

/// The rule of EfficientNet-B0. Pretrained weights need the size that they were trained on. Random weights learn the requested size.
pub(super) fn efficientnet(is_pretrained: bool, options: &TrainOptions) -> InputRule {
    let (mean, std) = IMAGENET;
    let size_px = if is_pretrained { 224 } else { options.crop_px.unwrap_or(224) };
    let resize_short_px = size_px * 256 / 224;
    InputRule { size_px, resize_short_px, filter: ResizeFilter::Bicubic, mean, std, views: Vec::new() }
}

/// The fields of CLIP's `preprocessor_config.json` that are read. A size is either a number or an object.
#[derive(Deserialize)]
struct Preprocessor {
    size: Side,
    crop_size: Side,
    image_mean: [f32; 3],
    image_std: [f32; 3],
    /// PIL's number of the resize filter.
    resample: u32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Side {
    Number(u32),
    Short { shortest_edge: u32 },
    Square { height: u32, width: u32 },
}

/// PIL's number of the bicubic filter.
const BICUBIC: u32 = 3;

/// The input rule of `preprocessor_config.json`; CLIP's own rule if the file does not exist.
pub(super) fn clip(path: &Path, config: &ClipConfig) -> Result<InputRule, BackboneError> {
    let size_px = config.vision.image_size as u32;
    let fail = |reason: String| BackboneError::File { path: path.to_owned(), reason };
    let (mean, std) = CLIP;
    let usual = {
        let resize_short_px = size_px;
        InputRule { size_px, resize_short_px, filter: ResizeFilter::Bicubic, mean, std, views: Vec::new() }
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(usual),
        Err(e) => return Err(fail(format!("cannot be read: {e}"))),
    };
    let read: Preprocessor = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
    let resize_short_px = match read.size {
        Side::Number(side) | Side::Short { shortest_edge: side } => side,
        Side::Square { height, width } if height == width => height,
        Side::Square { .. } => return Err(fail("size is not a square".to_owned())),
    };
    let crop = match read.crop_size {
        Side::Number(side) | Side::Short { shortest_edge: side } => side,
        Side::Square { height, width } if height == width => height,
        Side::Square { .. } => return Err(fail("crop_size is not a square".to_owned())),
    };
    if crop != size_px || resize_short_px < crop {
        return Err(fail(format!(
            "crop_size {crop} and size {resize_short_px} do not fit image_size {size_px} in config.json"
        )));
    }
    if read.resample != BICUBIC {
        return Err(fail(format!("resample {} is not bicubic ({BICUBIC}), the only supported filter", read.resample)));
    }
    Ok(InputRule { resize_short_px, mean: read.image_mean, std: read.image_std, ..usual })
}
