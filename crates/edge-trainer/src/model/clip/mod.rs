//! CLIP in the Hugging Face layout, with any image and patch size that its configuration describes.
//!
//! Traps of real files: QuickGELU instead of GELU, the causal mask of the text side, `eos_token_id: 2` (the text is then pooled at
//! the highest id), and a normalisation before the first vision layer that the format calls `pre_layrnorm`.

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

/// Reads both encoders from the safetensors file `path`. A tensor that neither encoder uses is an error.
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
    // The temperature of CLIP's own training, and position numbers that older versions stored.
    weights.ignore(|key| key == "logit_scale" || key.ends_with(".embeddings.position_ids"));
    weights.finish()?;
    Ok((vision, text))
}

/// Writes random weights of both encoders to `path`, in the layout that [`load`] reads.
///
/// # Errors
/// [`WeightError::Unwritable`].
pub fn draw(path: &Path, config: &ClipConfig, seed: u64) -> Result<(), WeightError> {
    let mut weights = DrawnWeights::new(seed);
    // Loading the networks requests every tensor once; the networks themselves are not needed.
    let device = Default::default();
    ClipVision::<Flex>::load(&mut weights, config, &device)?;
    ClipText::<Flex>::load(&mut weights, config, &device)?;
    // Not used here, but other readers of the layout require it.
    weights.take("logit_scale", &[])?;
    weights.write(path)
}

#[cfg(test)]
mod tests;
