//! Random weights for a network of any shape, and their file: what measures speed, memory and exactness needs a model of full size,
//! not a trained one.

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use safetensors::tensor::{Dtype, TensorView};

use super::{WeightError, WeightSource};

/// Deviation of biases, and of a normalisation's gains around 1.
const VECTOR_DEVIATION: f32 = 0.2;
/// Deviation of what stands for tokens and positions.
const EMBEDDING_DEVIATION: f32 = 0.5;

/// Draws what it is asked for, and remembers it.
///
/// Matrices and kernels have the variance 1 / inputs, so that values stay of order one through any number of layers; biases and
/// gains are no zeros and ones, so that a network which forgets them gives other numbers.
#[derive(Debug)]
pub struct DrawnWeights {
    random: StdRng,
    made: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
}

impl DrawnWeights {
    /// The weights of that seed: the same for the same tensors asked for in the same order.
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), made: BTreeMap::new() }
    }

    /// Writes all that was drawn as a safetensors file.
    ///
    /// # Errors
    /// [`WeightError::Unwritable`].
    pub fn write(&self, path: &Path) -> Result<(), WeightError> {
        let unwritable = |reason: String| WeightError::Unwritable { path: path.to_owned(), reason };
        let mut views = Vec::with_capacity(self.made.len());
        for (key, (shape, bytes)) in &self.made {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|e| unwritable(e.to_string()))?;
            views.push((key, view));
        }
        let bytes = safetensors::serialize(views, None).map_err(|e| unwritable(e.to_string()))?;
        std::fs::write(path, bytes).map_err(|e| unwritable(e.to_string()))
    }

    /// A number of the normal distribution (Box and Muller, 1958).
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
        self.made.insert(key.to_owned(), (shape.to_vec(), bytes));
        Ok(values)
    }
}
