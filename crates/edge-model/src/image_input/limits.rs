//! Limits on the size of a single image.

use serde::{Deserialize, Serialize};

/// Upper limits for a single image. All of them are checked before the pixels are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest file, in bytes.
    pub max_file_bytes: u64,
    /// Largest number of pixels: width times height as stated in the file's header.
    pub max_pixels: u64,
    /// Largest amount of memory for the decoded pixels, in bytes.
    pub max_decode_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_file_bytes: 256 << 20, max_pixels: 200_000_000, max_decode_bytes: 1 << 30 }
    }
}
