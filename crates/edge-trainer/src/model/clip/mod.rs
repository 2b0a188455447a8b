//! CLIP in the Hugging Face layout: any size and patch of vision transformer that its configuration describes.
//!
//! The traps of real files: QuickGELU instead of GELU, the causal mask of the text side, `eos_token_id: 2` (pooling is then at
//! the highest id), a normalisation before the first vision layer that the format calls `pre_layrnorm`.

mod config;
mod text;
mod transformer;
mod vision;

use std::path::Path;

use burn::backend::Flex;
use burn::tensor::backend::Backend;

pub use config::{Activation, ClipConfig, ConfigError, TextConfig, TransformerConfig, VisionConfig};
pub use text::{ClipText, EncodedText};
pub use vision::ClipVision;

use crate::weights::{DrawnWeights, WeightError, WeightFile, WeightSource};

/// Reads both encoders from `model.safetensors`. Every tensor of the file must have its place.
///
/// # Errors
/// [`WeightError`].
pub fn load<B: Backend>(
    path: &Path,
    config: &ClipConfig,
    device: &B::Device,
) -> Result<(ClipVision<B>, ClipText<B>), WeightError> {
    let file = WeightFile::read(path)?;
    let mut weights = file.tensors()?;
    let vision = ClipVision::load(&mut weights, config, device)?;
    let text = ClipText::load(&mut weights, config, device)?;
    // The temperature of CLIP's own training, and counters that older versions stored.
    weights.ignore(|key| key == "logit_scale" || key.ends_with(".embeddings.position_ids"));
    weights.finish()?;
    Ok((vision, text))
}

/// Draws both encoders' weights and writes them to `path`, in the layout that [`load`] reads.
///
/// # Errors
/// [`WeightError::Unwritable`].
pub fn draw(path: &Path, config: &ClipConfig, seed: u64) -> Result<(), WeightError> {
    let mut weights = DrawnWeights::new(seed);
    // Building the networks is what asks for the tensors; the networks themselves are not needed.
    let device = Default::default();
    ClipVision::<Flex>::load(&mut weights, config, &device)?;
    ClipText::<Flex>::load(&mut weights, config, &device)?;
    // Nothing here reads it, other readers of the layout miss it.
    weights.take("logit_scale", &[])?;
    weights.write(path)
}

#[cfg(test)]
mod tests;
