//! The networks. Every part has its forward pass and, beside it, its export to ONNX; nothing here knows data sets, losses or
//! files.

mod backbone;
pub mod clip;
pub mod efficientnet;
pub mod head;
mod image_encoder;
mod layers;
mod load;
mod maps;
pub mod measure;
mod mixed;
#[cfg(test)]
mod reference;
mod scorer;
mod text_encoder;

pub use backbone::{ImageBackbone, ImageBatch, ImageOutput, SilentText, TextBackbone, TextOutput};
pub use image_encoder::{Block, COMPONENT, COMPONENTS, Fit, ImageEncoder, MAX_ANSWERS, SHARES};
pub use layers::values;
pub use maps::Compute;
pub use measure::MIN_SIZE_PX;
pub use mixed::in_bf16;
pub use scorer::{AlignmentScale, BackboneShape, ModelShape, ScoreUnit, SmallShape, TagScorer, parameters};
pub use text_encoder::TextEncoder;

/// Length D of the small encoders' embeddings.
pub const EMBEDDING: usize = 256;
