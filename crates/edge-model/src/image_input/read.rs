//! Reads image files, each once and only up to a size limit.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::error::ImageError;
use super::limits::Limits;

/// Opens the regular file at `path` for reading. Does not wait for the other end of a named pipe.
///
/// # Errors
/// [`ImageError::Unreadable`], [`ImageError::NotAFile`].
pub fn open_file(path: &Path) -> Result<File, ImageError> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(|e| ImageError::from(&e))?;
    let metadata = file.metadata().map_err(|e| ImageError::from(&e))?;
    if metadata.is_file() { Ok(file) } else { Err(ImageError::NotAFile) }
}

/// Reads a whole file. Never reads more than the limit, even if the file grows meanwhile.
///
/// # Errors
/// Those of [`open_file`] and [`read_opened`].
pub fn read_file(path: &Path, limits: &Limits) -> Result<Vec<u8>, ImageError> {
    let file = open_file(path)?;
    let size_bytes = file.metadata().map_err(|e| ImageError::from(&e))?.len();
    read_opened(file, size_bytes, limits)
}

/// Reads a whole file that is open already and had `size_bytes` bytes. Reads from the file and asks the system for nothing else.
///
/// # Errors
/// [`ImageError::Unreadable`], [`ImageError::Empty`], and [`ImageError::TooLarge`] above `limits.max_file_bytes`.
pub fn read_opened(file: impl Read, size_bytes: u64, limits: &Limits) -> Result<Vec<u8>, ImageError> {
    let too_large =
        |bytes: u64| ImageError::TooLarge { what: "file", is: bytes, limit: limits.max_file_bytes, unit: "bytes" };
    if size_bytes > limits.max_file_bytes {
        return Err(too_large(size_bytes));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0) + 1);
    file.take(limits.max_file_bytes + 1).read_to_end(&mut bytes).map_err(|e| ImageError::from(&e))?;
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if bytes.len() as u64 > limits.max_file_bytes {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}
