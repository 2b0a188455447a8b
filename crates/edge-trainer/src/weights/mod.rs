//! Sources of a network's weights: a safetensors file or a random generator. A missing, unused or misshapen tensor is an error that
//! names its key, because a network with only half of its weights loaded looks like one that works. Knows no network.

mod drawn;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors};

pub use drawn::DrawnWeights;

/// Weights that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {reason}. Check the path of the backbone", path.display())]
    Unreadable {
        /// Path of the safetensors file.
        path: PathBuf,
        /// Error of the operating system.
        reason: String,
    },
    /// The file is cut off or not a safetensors file.
    #[error("{}: not a complete safetensors file ({reason}). Download the file again", path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Message of the safetensors reader.
        reason: String,
    },
    /// The file lacks a tensor that the network needs.
    #[error("{}: lacks the tensor {key}{}. Check that the config.json beside the file describes the \
        model whose weights it holds",
        path.display(),
        near.as_ref().map_or_else(String::new, |n| format!("; the most similar name in the file is {n}")))]
    Missing {
        /// Path of the file.
        path: PathBuf,
        /// Name of the missing tensor.
        key: String,
        /// The most similar key in the file, if one is similar.
        near: Option<String>,
    },
    /// The file holds tensors that the network does not use.
    #[error("{}: holds {} tensors that this architecture does not use, the first: {}. Check that the file \
        holds a model of this architecture and that the config.json beside it describes this model",
        path.display(), keys.len(), keys[0])]
    Superfluous {
        /// Path of the file.
        path: PathBuf,
        /// Names of the unused tensors in alphabetical order; at least one.
        keys: Vec<String>,
    },
    /// Weights cannot be written.
    #[error("{}: cannot be written: {reason}. Check the permissions of its directory and the free space", path.display())]
    Unwritable {
        /// Path of the file to write.
        path: PathBuf,
        /// Error of the operating system or of the safetensors writer.
        reason: String,
    },
    /// A tensor has another shape than the architecture needs.
    #[error("{}: the tensor {key} has the shape {found:?}, but the configuration needs {expected:?}. Check that the \
        config.json beside the file describes the model whose weights it holds", path.display())]
    Shape {
        /// Path of the file.
        path: PathBuf,
        /// Name of the tensor.
        key: String,
        /// Shape of the tensor in the file.
        found: Vec<usize>,
        /// The shape that the architecture needs.
        expected: Vec<usize>,
    },
    /// A tensor holds values of an unsupported type.
    #[error("{}: the tensor {key} holds {found}; only floats of 16 or 32 bits are supported. Convert the file to \
        one of these types", path.display())]
    Type {
        /// Path of the file.
        path: PathBuf,
        /// Name of the tensor.
        key: String,
        /// Type of the tensor in the file, such as `I64`.
        found: String,
    },
    /// A weight is NaN or infinite.
    #[error("{}: the tensor {key} holds values that are not finite. Download the file again", path.display())]
    NotFinite {
        /// Path of the file.
        path: PathBuf,
        /// Name of the tensor.
        key: String,
    },
}

/// Gives a network its weights by key. The network decides which tensors it takes and of which shape.
pub trait WeightSource {
    /// The values of the tensor `key` of shape `shape`, row-major.
    ///
    /// # Errors
    /// Any [`WeightError`].
    fn take(&mut self, key: &str, shape: &[usize]) -> Result<Vec<f32>, WeightError>;
}

/// The bytes of a safetensors file.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl WeightFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`WeightError::Unreadable`].
    pub fn read(path: &Path) -> Result<Self, WeightError> {
        let unreadable = |e: std::io::Error| WeightError::Unreadable { path: path.to_owned(), reason: e.to_string() };
        Ok(Self { path: path.to_owned(), bytes: std::fs::read(path).map_err(unreadable)? })
    }

    /// The file's tensors, none of them taken yet.
    ///
    /// # Errors
    /// [`WeightError::Damaged`].
    pub fn tensors(&self) -> Result<Weights<'_>, WeightError> {
        let damaged =
            |e: safetensors::SafeTensorError| WeightError::Damaged { path: self.path.clone(), reason: e.to_string() };
        let tensors = SafeTensors::deserialize(&self.bytes).map_err(damaged)?;
        let left = tensors.names().into_iter().map(str::to_owned).collect();
        Ok(Weights { path: &self.path, tensors, left })
    }
}

/// The tensors of a file. It records which ones a network takes.
#[derive(Debug)]
pub struct Weights<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
    left: BTreeSet<String>,
}

impl WeightSource for Weights<'_> {
    fn take(&mut self, key: &str, shape: &[usize]) -> Result<Vec<f32>, WeightError> {
        let view = self.tensors.tensor(key).map_err(|_| self.missing(key))?;
        let (path, key) = (self.path.to_owned(), key.to_owned());
        if view.shape() != shape {
            let (found, expected) = (view.shape().to_vec(), shape.to_vec());
            return Err(WeightError::Shape { path, key, found, expected });
        }
        let pairs = |convert: fn([u8; 2]) -> f32| view.data().chunks_exact(2).map(|b| convert([b[0], b[1]])).collect();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => pairs(|b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => pairs(|b| bf16::from_le_bytes(b).to_f32()),
            other => return Err(WeightError::Type { path, key, found: format!("{other:?}") }),
        };
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
        self.tensors.tensor(key).is_ok()
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
