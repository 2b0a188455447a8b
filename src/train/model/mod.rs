//! The networks. Every part has its forward pass and, beside it, its export to ONNX; nothing here knows data sets, losses or
//! files.

mod backbone;
pub mod clip;
mod conv;
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
mod statistics;
mod text_encoder;

pub use backbone::{ImageBackbone, ImageBatch, ImageOutput, SilentText, TextBackbone, TextOutput};
pub use image_encoder::{ImageEncoder, PreparedImages, Standardisation};
pub use layers::values;
pub use mixed::in_bf16;
pub use scorer::{AlignmentScale, BackboneShape, ModelShape, ScoreUnit, SmallShape, TagScorer, parameters};
pub use statistics::{MIN_SIZE_PX, STATISTICS};
pub use text_encoder::TextEncoder;

/// Length D of the small encoders' embeddings.
const EMBEDDING: usize = 512;
/// Length of the tokens that the heads cut such an embedding into.
const TOKEN_LENGTH: usize = EMBEDDING / head::TOKENS;
