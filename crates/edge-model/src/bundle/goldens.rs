//! The goldens' tensors, and their comparison with a device's outputs.

use std::collections::HashMap;

use ndarray::Array2;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::manifest::Tolerance;

/// Outputs for G golden images and T golden tags, with embeddings of length D: those of the trainer's own network, or those of
/// a replay.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenTensors {
    /// Image embeddings of the golden images, `[G, D]`, before rounding to f16.
    pub image_embedding: Array2<f32>,
    /// Text embeddings of the golden tags, `[T, D]`.
    pub text_embedding: Array2<f32>,
    /// Scores of golden images under golden tags, `[G, T]`, computed from image embeddings rounded to f16, as the
    /// database stores them.
    pub score: Array2<f32>,
    /// Similarities of golden images and tags, `[G, T]`: cosines, -1..=1.
    pub similarity: Array2<f32>,
}

/// The result of a replay: the largest absolute difference between the goldens and the outputs of a device, by kind of output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Replay {
    /// Difference of image embeddings, as a fraction of the largest magnitude in the golden image embeddings.
    pub image_embedding: f32,
    /// Difference of text embeddings, as a fraction of the largest magnitude in the golden text embeddings.
    pub text_embedding: f32,
    /// Difference of scores, in units of the bundle's score scale.
    pub score: f32,
    /// Difference of similarities, which are cosines.
    pub similarity: f32,
}

impl GoldenTensors {
    /// Returns the tensors as a safetensors file.
    ///
    /// # Errors
    /// The message of the safetensors writer.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let buffers: Vec<(&str, Vec<usize>, Vec<u8>)> = self
            .named()
            .into_iter()
            .map(|(name, a)| (name, a.shape().to_vec(), a.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = buffers
            .iter()
            .map(|(name, shape, data)| {
                TensorView::new(Dtype::F32, shape.clone(), data).map(|view| (*name, view)).map_err(|e| e.to_string())
            })
            .collect::<Result<Vec<_>, _>>()?;
        safetensors::serialize(views, Some(HashMap::new())).map_err(|e| e.to_string())
    }

    /// Reads the tensors from a safetensors file. The error says what is wrong with the file.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let matrix = |name: &str| {
            let view = file.tensor(name).map_err(|_| format!("the tensor {name} is missing"))?;
            let &[rows, columns] = view.shape() else { return Err(format!("{name} does not have two dimensions")) };
            if view.dtype() != Dtype::F32 {
                return Err(format!("{name} is not f32"));
            }
            let values: Vec<f32> =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            if values.iter().any(|v| !v.is_finite()) {
                return Err(format!("{name} holds values that are not finite"));
            }
            Array2::from_shape_vec((rows, columns), values).map_err(|e| format!("{name}: {e}"))
        };
        Ok(Self {
            image_embedding: matrix("image_embedding")?,
            text_embedding: matrix("text_embedding")?,
            score: matrix("score")?,
            similarity: matrix("similarity")?,
        })
    }

    /// Checks the shapes against the numbers of golden images and tags and the lengths of image and text embeddings. The error names the tensor.
    pub(super) fn check_shapes(&self, images: usize, tags: usize, dims: [usize; 2]) -> Result<(), String> {
        let expected = [[images, dims[0]], [tags, dims[1]], [images, tags], [images, tags]];
        for ((name, tensor), expected) in self.named().into_iter().zip(expected) {
            if tensor.shape() != expected {
                return Err(format!(
                    "{name} has the shape {:?}, but the manifest requires {expected:?}",
                    tensor.shape()
                ));
            }
        }
        Ok(())
    }

    fn named(&self) -> [(&'static str, &Array2<f32>); 4] {
        [
            ("image_embedding", &self.image_embedding),
            ("text_embedding", &self.text_embedding),
            ("score", &self.score),
            ("similarity", &self.similarity),
        ]
    }

    /// Returns the first kind of output that is the same in all goldens, within twice the tolerance: a network whose output is constant, or
    /// negated where it is nearly 0, would pass a replay.
    pub fn indistinct(&self, tolerance: &Tolerance) -> Option<&'static str> {
        let spread = |values: ndarray::ArrayView1<'_, f32>| {
            let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
            (high - low).max(0.0)
        };
        let of_columns = |a: &Array2<f32>| a.columns().into_iter().map(spread).fold(0.0, f32::max) / largest(a);
        let of_all = |a: &Array2<f32>| spread(a.flatten().view());
        [
            ("the image embedding", of_columns(&self.image_embedding), tolerance.embedding),
            ("the text embedding", of_columns(&self.text_embedding), tolerance.embedding),
            ("the score", of_all(&self.score), tolerance.score),
        ]
        .into_iter()
        .find_map(|(what, spread, tolerance)| (spread <= 2.0 * tolerance).then_some(what))
    }

    /// Returns the differences between these goldens and `replayed`. NaN and infinity count as an infinite difference.
    pub fn compare(&self, replayed: &Self) -> Replay {
        Replay {
            image_embedding: difference(&self.image_embedding, &replayed.image_embedding)
                / largest(&self.image_embedding),
            text_embedding: difference(&self.text_embedding, &replayed.text_embedding) / largest(&self.text_embedding),
            score: difference(&self.score, &replayed.score),
            similarity: difference(&self.similarity, &replayed.similarity),
        }
    }
}

/// Returns the largest magnitude; above 0, so that it can divide.
fn largest(a: &Array2<f32>) -> f32 {
    a.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()))
}

/// Returns the largest absolute difference; infinite for different shapes and for values that are not finite.
fn difference(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    if a.shape() != b.shape() {
        return f32::INFINITY;
    }
    a.iter().zip(b).fold(0.0, |worst: f32, (x, y)| {
        let d = (x - y).abs();
        if d.is_finite() { worst.max(d) } else { f32::INFINITY }
    })
}

impl Replay {
    /// Returns the first difference above its tolerance: the name of the output, the difference and the tolerance.
    pub fn violation(&self, tolerance: &Tolerance) -> Option<(&'static str, f32, f32)> {
        [
            ("the image embedding", self.image_embedding, tolerance.embedding),
            ("the text embedding", self.text_embedding, tolerance.embedding),
            ("the score", self.score, tolerance.score),
            ("the similarity", self.similarity, tolerance.similarity),
        ]
        .into_iter()
        .find(|(_, difference, allowed)| difference > allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> GoldenTensors {
        GoldenTensors {
            image_embedding: Array2::from_shape_fn((2, 4), |(i, j)| i as f32 - j as f32),
            text_embedding: Array2::from_shape_fn((3, 4), |(i, j)| (i * j) as f32),
            score: Array2::from_elem((2, 3), 2.5),
            similarity: Array2::from_elem((2, 3), 0.25),
        }
    }

    #[test]
    fn goldens_that_a_constant_network_would_pass_are_named() {
        let tolerance = Tolerance { embedding: 1e-2, score: 1e-2, similarity: 1e-2 };
        let distinct = GoldenTensors { score: Array2::from_shape_fn((2, 3), |(i, j)| (i + j) as f32), ..tensors() };
        assert_eq!(distinct.indistinct(&tolerance), None);
        assert_eq!(tensors().indistinct(&tolerance), Some("the score"));
        let nearly = Array2::from_shape_fn((2, 3), |(i, _)| i as f32 * 0.02);
        assert_eq!(GoldenTensors { score: nearly, ..tensors() }.indistinct(&tolerance), Some("the score"));
        // Columns may differ from each other; those of different images or texts must differ.
        let same = GoldenTensors { text_embedding: Array2::from_shape_fn((3, 4), |(_, j)| j as f32), ..distinct };
        assert_eq!(same.indistinct(&tolerance), Some("the text embedding"));
        let zeros = GoldenTensors { image_embedding: Array2::zeros((2, 4)), ..same };
        assert_eq!(zeros.indistinct(&tolerance), Some("the image embedding"));
    }

    #[test]
    fn tensors_survive_a_round_trip_and_nan_is_infinitely_far() {
        let golden = tensors();
        let bytes = golden.to_bytes().unwrap();
        assert_eq!(GoldenTensors::from_bytes(&bytes).unwrap(), golden);
        assert!(golden.check_shapes(2, 3, [4, 4]).is_ok() && golden.check_shapes(2, 3, [4, 3]).is_err());
        let mut off = golden.clone();
        off.score[[1, 2]] = f32::NAN;
        let tolerance = Tolerance { embedding: 1e-3, score: 1e-2, similarity: 1e-3 };
        assert_eq!(golden.compare(&golden).violation(&tolerance), None);
        assert_eq!(golden.compare(&off).violation(&tolerance), Some(("the score", f32::INFINITY, 1e-2)));
        assert!(GoldenTensors::from_bytes(&bytes[..bytes.len() - 3]).is_err());
    }
}
