//! A weight file of either format, and the tensors that a network takes from it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use pytorch_reader::{DType, Tensor};
use safetensors::tensor::{Dtype, SafeTensors};

use super::pytorch::{looks_like_checkpoint, read_checkpoint};
use super::{WeightError, WeightSource};

/// A safetensors file or a PyTorch checkpoint. The contents decide which one it is, not the name.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    Safetensors(Vec<u8>),
    PyTorch(HashMap<String, Tensor>),
}

impl WeightFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`WeightError::Unreadable`]; for a PyTorch checkpoint also [`WeightError::Damaged`] and [`WeightError::PythonObject`].
    pub fn read(path: &Path) -> Result<Self, WeightError> {
        let unreadable = |e: std::io::Error| WeightError::Unreadable { path: path.to_owned(), reason: e.to_string() };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let contents = if looks_like_checkpoint(&bytes) {
            Contents::PyTorch(read_checkpoint(path)?)
        } else {
            Contents::Safetensors(bytes)
        };
        Ok(Self { path: path.to_owned(), contents })
    }

    /// The file's tensors, none of them taken yet.
    ///
    /// # Errors
    /// [`WeightError::Damaged`].
    pub fn tensors(&self) -> Result<Weights<'_>, WeightError> {
        let path = self.path.as_path();
        let damaged = |e: safetensors::SafeTensorError| WeightError::Damaged {
            path: path.to_owned(),
            format: "safetensors file",
            reason: e.to_string(),
        };
        let tensors = match &self.contents {
            Contents::Safetensors(bytes) => Tensors::Safetensors(SafeTensors::deserialize(bytes).map_err(damaged)?),
            Contents::PyTorch(tensors) => Tensors::PyTorch(tensors),
        };
        let left = tensors.names().into_iter().map(str::to_owned).collect();
        Ok(Weights { path, tensors, left })
    }
}

#[derive(Debug)]
enum Tensors<'a> {
    Safetensors(SafeTensors<'a>),
    PyTorch(&'a HashMap<String, Tensor>),
}

/// A tensor as the file stores it.
struct StoredTensor<'a> {
    /// Type of the values; an error holds the name of a type that is not supported.
    float: Result<Float, String>,
    shape: Vec<usize>,
    /// The values in row-major order.
    bytes: Cow<'a, [u8]>,
}

#[derive(Debug, Clone, Copy)]
enum Float {
    F32,
    F16,
    Bf16,
}

impl Tensors<'_> {
    fn names(&self) -> Vec<&str> {
        match self {
            Self::Safetensors(tensors) => tensors.names(),
            Self::PyTorch(tensors) => tensors.keys().map(String::as_str).collect(),
        }
    }

    fn has(&self, key: &str) -> bool {
        match self {
            Self::Safetensors(tensors) => tensors.tensor(key).is_ok(),
            Self::PyTorch(tensors) => tensors.contains_key(key),
        }
    }

    /// Returns the tensor `key`; `None` if the file has none of this name.
    ///
    /// # Errors
    /// The values of a PyTorch tensor cannot be read.
    fn read(&self, key: &str) -> std::io::Result<Option<StoredTensor<'_>>> {
        Ok(match self {
            Self::Safetensors(tensors) => tensors.tensor(key).ok().map(|view| StoredTensor {
                float: match view.dtype() {
                    Dtype::F32 => Ok(Float::F32),
                    Dtype::F16 => Ok(Float::F16),
                    Dtype::BF16 => Ok(Float::Bf16),
                    other => Err(format!("{other:?}")),
                },
                shape: view.shape().to_vec(),
                bytes: Cow::Borrowed(view.data()),
            }),
            Self::PyTorch(tensors) => match tensors.get(key) {
                Some(tensor) => Some(StoredTensor {
                    float: match tensor.dtype() {
                        DType::F32 => Ok(Float::F32),
                        DType::F16 => Ok(Float::F16),
                        DType::BF16 => Ok(Float::Bf16),
                        other => Err(format!("{other:?}")),
                    },
                    shape: tensor.shape().to_vec(),
                    bytes: Cow::Owned(tensor.read()?),
                }),
                None => None,
            },
        })
    }
}

impl StoredTensor<'_> {
    fn values(&self, float: Float) -> Vec<f32> {
        let pairs = |convert: fn([u8; 2]) -> f32| self.bytes.chunks_exact(2).map(|b| convert([b[0], b[1]])).collect();
        match float {
            Float::F32 => self.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Float::F16 => pairs(|b| f16::from_le_bytes(b).to_f32()),
            Float::Bf16 => pairs(|b| bf16::from_le_bytes(b).to_f32()),
        }
    }
}

/// The tensors of a file. It records which ones a network takes.
#[derive(Debug)]
pub struct Weights<'a> {
    path: &'a Path,
    tensors: Tensors<'a>,
    left: BTreeSet<String>,
}

impl WeightSource for Weights<'_> {
    fn take(&mut self, key: &str, shape: &[usize]) -> Result<Vec<f32>, WeightError> {
        let path = self.path.to_owned();
        let stored = self.tensors.read(key).map_err(|e| WeightError::Damaged {
            path: path.clone(),
            format: "PyTorch checkpoint",
            reason: e.to_string(),
        })?;
        let stored = stored.ok_or_else(|| self.missing(key))?;
        let key = key.to_owned();
        if stored.shape != shape {
            return Err(WeightError::Shape { path, key, found: stored.shape, expected: shape.to_vec() });
        }
        let float = match &stored.float {
            Ok(float) => *float,
            Err(found) => return Err(WeightError::Type { path, key, found: found.clone() }),
        };
        let values = stored.values(float);
        if values.iter().any(|v| !v.is_finite()) {
            return Err(WeightError::NotFinite { path, key });
        }
        self.left.remove(&key);
        Ok(values)
    }
}

impl Weights<'_> {
    /// Whether the file has the tensor `key`, taken or not.
    pub fn has(&self, key: &str) -> bool {
        self.tensors.has(key)
    }

    /// Marks tensors that no network needs, such as stored constants, as taken.
    pub fn ignore(&mut self, is_needless: impl Fn(&str) -> bool) {
        self.left.retain(|key| !is_needless(key));
    }

    /// Fails if a tensor was neither taken nor ignored.
    ///
    /// # Errors
    /// [`WeightError::Superfluous`].
    pub fn finish(self) -> Result<(), WeightError> {
        if self.left.is_empty() {
            return Ok(());
        }
        Err(WeightError::Superfluous { path: self.path.to_owned(), keys: self.left.into_iter().collect() })
    }

    fn missing(&self, key: &str) -> WeightError {
        let likeness = |name: &&str| strsim::normalized_levenshtein(name, key);
        let near = self.tensors.names().into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let near = near.filter(|name| likeness(name) > 0.8).map(str::to_owned);
        WeightError::Missing { path: self.path.to_owned(), key: key.to_owned(), near }
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    /// A file with three tensors that hold 1.5 and -2, one for each float type, and with a tensor of a NaN and one of an integer.
    fn file(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) -> WeightFile {
        let f32s: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let f16s: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let bf16s: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        let nan: Vec<u8> = f32::NAN.to_le_bytes().to_vec();
        let ids: Vec<u8> = 7i64.to_le_bytes().to_vec();
        let view = |kind, shape: &[usize], data| TensorView::new(kind, shape.to_vec(), data).unwrap();
        let tensors = [
            ("single.weight", view(Dtype::F32, &[1, 2], &f32s)),
            ("half.weight", view(Dtype::F16, &[2], &f16s)),
            ("brain.weight", view(Dtype::BF16, &[2], &bf16s)),
            ("broken.weight", view(Dtype::F32, &[1], &nan)),
            ("position_ids", view(Dtype::I64, &[1], &ids)),
        ];
        let mut bytes = safetensors::serialize(tensors, None).unwrap();
        change(&mut bytes);
        let path = dir.join("model.safetensors");
        std::fs::write(&path, bytes).unwrap();
        WeightFile::read(&path).unwrap()
    }

    #[test]
    fn all_float_types_are_read_and_everything_else_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path(), |_| {});
        let mut weights = file.tensors().unwrap();
        assert_eq!(weights.take("single.weight", &[1, 2]).unwrap(), [1.5, -2.0]);
        assert_eq!(weights.take("half.weight", &[2]).unwrap(), [1.5, -2.0]);
        assert_eq!(weights.take("brain.weight", &[2]).unwrap(), [1.5, -2.0]);
        let mut message = |key: &str, shape: &[usize]| weights.take(key, shape).unwrap_err().to_string();
        let typo = message("singel.weight", &[1]);
        let expected = "lacks the tensor singel.weight; the most similar name in the file is single.weight. Check";
        assert!(typo.contains(expected), "{typo}");
        assert!(message("logit_scale", &[1]).contains("lacks the tensor logit_scale. Check"));
        assert!(
            message("half.weight", &[3]).contains("half.weight has the shape [2], but the configuration needs [3]")
        );
        assert!(message("broken.weight", &[1]).contains("broken.weight holds values that are not finite"));
        assert!(message("position_ids", &[1]).contains("position_ids holds I64"));
        weights.ignore(|key| key == "position_ids");
        let message = weights.finish().unwrap_err().to_string();
        assert!(message.contains("holds 1 tensors") && message.contains("the first: broken.weight"), "{message}");
    }

    #[test]
    fn a_cut_off_file_is_damaged_and_a_missing_one_unreadable() {
        let dir = tempfile::tempdir().unwrap();
        let cut = file(dir.path(), |bytes| bytes.truncate(bytes.len() - 3));
        let message = cut.tensors().unwrap_err().to_string();
        assert!(message.contains("model.safetensors: not a complete safetensors file"), "{message}");
        let gone = WeightFile::read(&dir.path().join("gone.safetensors")).unwrap_err().to_string();
        assert!(gone.contains("gone.safetensors: cannot be read"), "{gone}");
    }
}
