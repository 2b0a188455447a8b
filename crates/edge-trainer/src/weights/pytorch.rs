//! Reads PyTorch checkpoints: what `torch.save` writes, of any version. A checkpoint is a pickle, which is a program for Python. The
//! crate `pytorch-reader` interprets its instructions for plain data and tensors, and runs none of its calls.

use std::collections::HashMap;
use std::path::Path;

use pytorch_reader::{PickleValue, PytorchError, PytorchReader, Tensor};

use super::WeightError;

/// Python's name of a tensor's type, in a checkpoint's description.
const TENSOR: &str = "torch.Tensor";

/// Returns whether the file begins like a checkpoint: a zip archive, a tar archive or a pickle.
pub(super) fn looks_like_checkpoint(bytes: &[u8]) -> bool {
    let is_safetensors = bytes.get(8) == Some(&b'{');
    let is_tar = bytes.get(257..262) == Some(b"ustar");
    !is_safetensors && (is_tar || bytes.starts_with(b"PK") || bytes.starts_with(&[0x80]))
}

/// Returns the checkpoint's tensors by name. Their values are read when they are needed. Names in nested dictionaries are joined by
/// dots.
///
/// # Errors
/// [`WeightError::Unreadable`], [`WeightError::Damaged`]; [`WeightError::PythonObject`] if the checkpoint holds anything but tensors,
/// numbers, texts and collections of these.
pub(super) fn read_checkpoint(path: &Path) -> Result<HashMap<String, Tensor>, WeightError> {
    let contents = PytorchReader::read_pickle_data(path, None).map_err(|e| failed(path, e))?;
    if let Some((key, object)) = find_object(String::new(), &contents) {
        return Err(WeightError::PythonObject { path: path.to_owned(), key, object });
    }
    Ok(PytorchReader::new(path).map_err(|e| failed(path, e))?.into_tensors())
}

fn failed(path: &Path, error: PytorchError) -> WeightError {
    let path = path.to_owned();
    match error {
        PytorchError::Io(error) => WeightError::Unreadable { path, reason: error.to_string() },
        error => WeightError::Damaged { path, format: "PyTorch checkpoint", reason: error.to_string() },
    }
}

/// Returns the place and the type of the first Python object that is not a tensor. Dictionaries are searched in the order of their keys.
fn find_object(key: String, value: &PickleValue) -> Option<(String, String)> {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        PickleValue::Unsupported(object) => (object != TENSOR).then(|| (key, object.clone())),
        PickleValue::List(values) => {
            values.iter().enumerate().find_map(|(index, value)| find_object(below(&index.to_string()), value))
        }
        PickleValue::Dict(values) => {
            let mut values: Vec<_> = values.iter().collect();
            values.sort_by_key(|(name, _)| *name);
            values.into_iter().find_map(|(name, value)| find_object(below(name), value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{WeightFile, WeightSource};
    use super::*;

    fn checkpoint(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoints").join(name)
    }

    #[test]
    fn tensors_of_every_container_have_the_values_that_pytorch_saved() {
        for (name, prefix) in [("zip.pth", ""), ("legacy.pth", ""), ("nested.pth", "state_dict.")] {
            let file = WeightFile::read(&checkpoint(name)).unwrap();
            let mut weights = file.tensors().unwrap();
            let mut take = |key: &str, shape: &[usize]| weights.take(&format!("{prefix}{key}"), shape);
            assert_eq!(take("single.weight", &[2, 3]).unwrap(), [1.5, -2.0, 3.0, 4.0, 5.0, -6.0], "{name}");
            assert_eq!(take("transposed.weight", &[3, 2]).unwrap(), [1.5, 4.0, -2.0, 5.0, 3.0, -6.0], "{name}");
            assert_eq!(take("half.weight", &[3]).unwrap(), [1.5, -2.0, 3.0], "{name}");
            assert_eq!(take("brain.weight", &[3]).unwrap(), [4.0, 5.0, -6.0], "{name}");
            let shape = take("half.weight", &[2]).unwrap_err().to_string();
            assert!(shape.contains("has the shape [3], but the configuration needs [2]"), "{shape}");
            let integer = take("norm.num_batches_tracked", &[]).unwrap_err().to_string();
            assert!(integer.contains("num_batches_tracked holds I64"), "{integer}");
            let missing = take("singel.weight", &[2, 3]).unwrap_err().to_string();
            assert!(
                missing.contains(&format!("the most similar name in the file is {prefix}single.weight")),
                "{missing}"
            );
            weights.ignore(|key| key.ends_with("num_batches_tracked"));
            weights.finish().unwrap();
        }
    }

    #[test]
    fn a_checkpoint_with_a_program_is_refused_and_nothing_runs() {
        let message = WeightFile::read(&checkpoint("program.pth")).unwrap_err().to_string();
        assert!(message.contains("program.pth: holds the Python object "), "{message}");
        assert!(message.contains("system at optimizer.0. Only tensors are read"), "{message}");
        assert!(!Path::new("a-program-of-the-checkpoint-ran").exists());
    }

    #[test]
    fn a_damaged_checkpoint_is_refused_wherever_it_is_cut_off_or_changed() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["zip.pth", "legacy.pth"] {
            let whole = std::fs::read(checkpoint(name)).unwrap();
            let path = dir.path().join(name);
            for length in 2..whole.len() {
                std::fs::write(&path, &whole[..length]).unwrap();
                let taken = WeightFile::read(&path).and_then(|file| {
                    let mut weights = file.tensors()?;
                    weights.take("single.weight", &[2, 3])?;
                    weights.take("brain.weight", &[3])
                });
                let error = taken.expect_err("a checkpoint that was cut off is accepted").to_string();
                assert!(error.starts_with(&path.display().to_string()), "{error}");
            }
            // Opcodes that no pickle has, one at a time: either an error or the same tensors, never a panic.
            for at in 0..whole.len() {
                let mut changed = whole.clone();
                changed[at] = 0xff;
                std::fs::write(&path, changed).unwrap();
                if let Ok(file) = WeightFile::read(&path) {
                    let _ = file.tensors().and_then(|mut weights| weights.take("single.weight", &[2, 3]));
                }
            }
        }
    }
}
