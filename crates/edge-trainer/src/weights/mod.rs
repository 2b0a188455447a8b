//! Sources of a network's weights: a safetensors file, a PyTorch checkpoint, or a random generator. A missing, unused or misshapen tensor is an error that
//! names its key, because a network with only half of its weights loaded looks like one that works. Knows no network.

mod drawn;
mod file;
mod pytorch;

use std::path::PathBuf;

pub use drawn::DrawnWeights;
pub use file::{WeightFile, Weights};

/// Weights that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {reason}. Check the path of the backbone", path.display())]
    Unreadable {
        /// Path of the weight file.
        path: PathBuf,
        /// Error of the operating system.
        reason: String,
    },
    /// The file is cut off, or neither a safetensors file nor a PyTorch checkpoint.
    #[error("{}: not a complete {format} ({reason}). Download the file again", path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// The format that the file seems to have: `safetensors file` or `PyTorch checkpoint`.
        format: &'static str,
        /// Message of the format's reader.
        reason: String,
    },
    /// A PyTorch checkpoint holds a Python object that is not a tensor.
    #[error("{}: holds the Python object {object} at {key}. Only tensors are read, and no code of the file is run. Save \
        the model's state_dict() with PyTorch and give that file", path.display())]
    PythonObject {
        /// Path of the file.
        path: PathBuf,
        /// Place of the object in the checkpoint, such as `optimizer.0`.
        key: String,
        /// Python's name of the object's type.
        object: String,
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
