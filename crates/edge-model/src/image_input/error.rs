//! Errors of single image files. None of these errors stops a run.

/// Error of one image file. The message does not contain the path; the code that reports the error adds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be read: the operating system returned an error.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// The operating system's message.
        reason: String,
        /// Whether the file does not exist.
        not_found: bool,
    },
    /// The path names a directory, a device or a pipe.
    #[error("is not a regular file: name an image file")]
    NotAFile,
    /// The file has no bytes.
    #[error("is empty: the copy may have been cut off; copy it again")]
    Empty,
    /// The file is not a JPEG, PNG or WebP image.
    #[error("is not a JPEG, PNG or WebP image: convert it to one of these formats")]
    UnknownFormat,
    /// The file exceeds one of the limits.
    #[error(
        "is too large: {what} of {is} {unit}; the limit is {limit} (to allow more, raise the limit under [limits] in the \
         configuration)"
    )]
    TooLarge {
        /// The part that is too large, such as `file`.
        what: &'static str,
        /// Size of the part named by `what`, in `unit`.
        is: u64,
        /// Largest allowed size of the part named by `what`, in `unit`.
        limit: u64,
        /// The unit of `is` and `limit`.
        unit: &'static str,
    },
    /// The decoder failed.
    #[error("cannot be decoded as {format}: {reason} (if it is damaged or cut off, copy it again)")]
    Undecodable {
        /// Name of the format, such as `jpeg`.
        format: &'static str,
        /// The decoder's message.
        reason: String,
    },
}

/// Coarse classes of [`ImageError`], by the step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageErrorKind {
    /// The bytes could not be read.
    Unreadable,
    /// The bytes are not a complete image.
    Undecodable,
    /// The file or its picture exceeds a limit of [`super::Limits`].
    TooLarge,
}

impl From<&std::io::Error> for ImageError {
    fn from(error: &std::io::Error) -> Self {
        Self::Unreadable { reason: error.to_string(), not_found: error.kind() == std::io::ErrorKind::NotFound }
    }
}

impl ImageError {
    /// The class of the error.
    pub fn kind(&self) -> ImageErrorKind {
        match self {
            Self::Unreadable { .. } | Self::NotAFile => ImageErrorKind::Unreadable,
            Self::Empty | Self::UnknownFormat | Self::Undecodable { .. } => ImageErrorKind::Undecodable,
            Self::TooLarge { .. } => ImageErrorKind::TooLarge,
        }
    }
}
