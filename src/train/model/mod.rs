//! The networks. Every part has its forward pass and, beside it, its export to ONNX; nothing here knows data sets, losses or
//! files.

pub mod clip;
mod conv;
pub mod efficientnet;
mod head;
mod image_encoder;
mod layers;
mod load;
mod maps;
#[cfg(test)]
mod reference;
mod scorer;
mod statistics;
mod text_encoder;

pub use head::QualityHead;
pub use image_encoder::{ImageEncoder, PreparedImages, Standardisation};
pub use layers::values;
pub use scorer::{AlignmentScale, ModelShape, ScoreUnit, TagScorer, parameters};
pub use statistics::{MIN_SIZE_PX, STATISTICS};
pub use text_encoder::TextEncoder;

/// Length D of image and text embeddings.
pub const EMBEDDING: usize = 512;
/// Tokens that the head cuts an embedding into.
pub const TOKENS: usize = 8;
/// Length of such a token.
pub const TOKEN_LENGTH: usize = EMBEDDING / TOKENS;
