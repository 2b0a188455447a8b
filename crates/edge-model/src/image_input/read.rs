//! Reads image files, each once and only up to a size limit.

use std::fs::{File, Metadata as FileMetadata};
use std::io::Read;
use std::path::Path;

use super::error::ImageError;
use super::limits::Limits;

/// Reads a whole file. Never reads more than the limit, even if the file grows meanwhile.
///
/// # Errors
/// [`ImageError::Unreadable`], [`ImageError::Empty`], [`ImageError::NotAFile`], and [`ImageError::TooLarge`] above
/// `limits.max_file_bytes`.
pub fn read_file(path: &Path, limits: &Limits) -> Result<Vec<u8>, ImageError> {
    read_file_and_metadata(path, limits).map(|(bytes, _)| bytes)
}

/// Reads a whole file like [`read_file`]. Returns its bytes and its file system metadata, read after the last byte. If the caller
/// saw the same metadata before the call, nobody wrote to the file in between.
///
/// # Errors
/// The same as [`read_file`].
pub fn read_file_and_metadata(path: &Path, limits: &Limits) -> Result<(Vec<u8>, FileMetadata), ImageError> {
    let mut file = File::open(path).map_err(|e| ImageError::io(&e))?;
    let metadata = file.metadata().map_err(|e| ImageError::io(&e))?;
    if !metadata.is_file() {
        return Err(ImageError::NotAFile);
    }
    let too_large =
        |bytes: u64| ImageError::TooLarge { what: "file", is: bytes, limit: limits.max_file_bytes, unit: "bytes" };
    if metadata.len() > limits.max_file_bytes {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.by_ref().take(limits.max_file_bytes + 1).read_to_end(&mut bytes).map_err(|e| ImageError::io(&e))?;
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if bytes.len() as u64 > limits.max_file_bytes {
        return Err(too_large(bytes.len() as u64));
    }
    Ok((bytes, file.metadata().map_err(|e| ImageError::io(&e))?))
}
