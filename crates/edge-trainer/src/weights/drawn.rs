//! Random weights for a network of any shape, and their file. Measurements of speed, memory and exactness need a model of full size,
//! but not a trained one.

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use safetensors::tensor::{Dtype, TensorView};

use super::{WeightError, WeightSource};

/// Standard deviation of biases, and of a normalisation's gains around 1.
const VECTOR_DEVIATION: f32 = 0.2;
/// Standard deviation of token and position embeddings.
const EMBEDDING_DEVIATION: f32 = 0.5;

/// Draws every tensor that is taken, and keeps it for the file.
///
/// Matrices and kernels have the variance 1 / inputs, so that values stay near one through any number of layers. Biases differ from
/// zero and gains from one, so that a network that ignores them gives other outputs.
#[derive(Debug)]
pub struct DrawnWeights {
    random: StdRng,
    drawn: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
}

impl DrawnWeights {
    /// Weights from a seed. The same tensors taken in the same order get the same values.
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), drawn: BTreeMap::new() }
    }

    /// Writes all tensors taken so far as a safetensors file.
    ///
    /// # Errors
    /// [`WeightError::Unwritable`].
    pub fn write(&self, path: &Path) -> Result<(), WeightError> {
        let unwritable = |reason: String| WeightError::Unwritable { path: path.to_owned(), reason };
        let mut views = Vec::with_capacity(self.drawn.len());
        for (key, (shape, bytes)) in &self.drawn {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|e| unwritable(e.to_string()))?;
            views.push((key, view));
        }
        let bytes = safetensors::serialize(views, None).map_err(|e| unwritable(e.to_string()))?;
        std::fs::write(path, bytes).map_err(|e| unwritable(e.to_string()))
    }

    /// A normally distributed number (Box and Muller, 1958).
    fn normal(&mut self) -> f32 {
        let (radius, angle): (f32, f32) = (self.random.random(), self.random.random());
        (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f32::consts::TAU * angle).cos()
    }
}

impl WeightSource for DrawnWeights {
    fn take(&mut self, key: &str, shape: &[usize]) -> Result<Vec<f32>, WeightError> {
        let numbers: usize = shape.iter().product();
        let (middle, deviation) = match shape {
            [_] if key.ends_with(".weight") => (1.0, VECTOR_DEVIATION),
            [_] | [] => (0.0, VECTOR_DEVIATION),
            _ if key.ends_with("token_embedding.weight") || key.ends_with("position_embedding.weight") => {
                (0.0, EMBEDDING_DEVIATION)
            }
            [outputs, ..] => (0.0, (numbers as f32 / *outputs as f32).powf(-0.5)),
        };
        let values: Vec<f32> = (0..numbers).map(|_| middle + deviation * self.normal()).collect();
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.drawn.insert(key.to_owned(), (shape.to_vec(), bytes));
        Ok(values)
    }
}
