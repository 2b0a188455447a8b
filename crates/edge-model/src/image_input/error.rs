//! Why one image cannot be used. None of these stops a run.

/// What is wrong with an image file. The path is not part of the message: who reports it knows the path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The operating system refused.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// What the operating system said.
        reason: String,
        /// Whether the file is simply not there.
        not_found: bool,
    },
    /// A directory, a device, a pipe.
    #[error("is not a regular file")]
    NotAFile,
    /// No bytes.
    #[error("is empty: the copy may have been cut off, copy it again")]
    Empty,
    /// Not a JPEG, PNG or WebP.
    #[error("is not a JPEG, PNG or WebP image (it begins with {begins})")]
    UnknownFormat {
        /// The first bytes, in hexadecimal.
        begins: String,
    },
    /// Above a limit.
    #[error("is too large: {what} of {is} {unit}, the limit is {limit} (raise it under [limits] in the configuration)")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        is: u64,
        /// The limit.
        limit: u64,
        /// Unit of both.
        unit: &'static str,
    },
    /// The decoder failed.
    #[error("cannot be decoded as {format}: {reason}")]
    Undecodable {
        /// The format's name.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
}

/// Coarse classes of [`ImageError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageErrorKind {
    /// The bytes could not be had.
    Unreadable,
    /// The bytes are not a whole picture.
    Undecodable,
    /// A limit was exceeded.
    TooLarge,
}

impl ImageError {
    pub(super) fn io(error: &std::io::Error) -> Self {
        Self::Unreadable { reason: error.to_string(), not_found: error.kind() == std::io::ErrorKind::NotFound }
    }

    /// The class of the error; its name is the `stage` in the failure ledger.
    pub fn kind(&self) -> ImageErrorKind {
        match self {
            Self::Unreadable { .. } | Self::NotAFile => ImageErrorKind::Unreadable,
            Self::Empty | Self::UnknownFormat { .. } | Self::Undecodable { .. } => ImageErrorKind::Undecodable,
            Self::TooLarge { .. } => ImageErrorKind::TooLarge,
        }
    }
}

impl ImageErrorKind {
    /// `read`, `decode` or `limit`.
    pub fn stage(self) -> &'static str {
        match self {
            Self::Unreadable => "read",
            Self::Undecodable => "decode",
            Self::TooLarge => "limit",
        }
    }
}
