//! The networks. Each has one definition, written in the operations of [`ops`]; it computes with burn and exports ONNX. This module knows
//! neither data sets nor losses. Weights come through [`crate::weights`].

mod backbone;
pub mod bert;
pub mod clip;
pub mod efficientnet;
pub mod head;
pub mod kernel_encoder;
mod layers;
mod load;
pub mod measure;
mod mixed;
pub mod ops;
#[cfg(test)]
mod reference;
mod scorer;
mod text_encoder;
mod token_means;
mod values;

pub use backbone::{ImageBackbone, ImageBatch, ImageOutput, SilentText, TextBackbone, TextOutput};
pub use head::ScoreUnit;
pub use measure::MIN_SIZE_PX;
pub use mixed::in_bf16;
pub use ops::Compute;
pub use scorer::{
    AlignmentScale, BackboneShape, LiteNetwork, LiteShape, ModelShape, SmallShape, TagScorer, parameters,
};
pub use text_encoder::TextEncoder;
pub use token_means::TokenMeans;
pub use values::values;

/// Length D of the small encoders' embeddings.
pub const EMBEDDING: usize = 256;
