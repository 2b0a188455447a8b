//! The error type of bundles. Each error stops the program or a reload; none concerns a single image.

use std::path::PathBuf;

/// Why a bundle was refused or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The directory does not exist.
    #[error("{}: there is no such directory. Name a model bundle with --model DIR or with `dir` under [model] in the \
        configuration", dir.display())]
    Missing {
        /// Directory that was named as a bundle.
        dir: PathBuf,
    },
    /// The directory contains no manifest.
    #[error("{}: not a model bundle: there is no manifest.json. Name the directory that `edge-trainer fit --out` wrote", dir.display())]
    NoManifest {
        /// Directory that was named as a bundle.
        dir: PathBuf,
    },
    /// The manifest is not valid JSON, or does not have exactly the keys of its schema.
    #[error("{}: the manifest is damaged or is not a manifest: {reason}. Copy the bundle again from the original", path.display())]
    Manifest {
        /// Path of `manifest.json`.
        path: PathBuf,
        /// The parser's message, with line and column.
        reason: String,
    },
    /// The manifest has another schema version than this build reads.
    #[error("{}: manifest schema version {found} is unknown; this program reads version {known}. {}", path.display(),
        if *found > u64::from(*known) { "Update edge-scorer" } else {
            "Write the bundle again with the edge-trainer of the same version as this program" })]
    SchemaVersion {
        /// Path of `manifest.json`.
        path: PathBuf,
        /// Schema version in the file.
        found: u64,
        /// Schema version that this build reads.
        known: u32,
    },
    /// The manifest contradicts itself.
    #[error("{}: the manifest is inconsistent: {reason}. Copy the bundle again from the original", path.display())]
    Inconsistent {
        /// Path of `manifest.json`.
        path: PathBuf,
        /// Description of the contradiction or of the invalid value.
        reason: String,
    },
    /// A file of the bundle does not exist.
    #[error("{}: this file of the bundle is missing. Copy the whole bundle again", path.display())]
    MissingFile {
        /// Path of the missing file.
        path: PathBuf,
    },
    /// A file is a link, or not a regular file.
    #[error("{}: is a link or not a regular file, so it is not read. Copy the bundle again, with the files that its links lead to \
        (cp -rL)", path.display())]
    NotRegular {
        /// Path of the link, directory, pipe, socket or device.
        path: PathBuf,
    },
    /// A file has another size or digest than the manifest states.
    #[error("{}: the file differs from the manifest ({what} is {found}, but the manifest says {expected}): it was changed or \
        truncated. Copy the bundle again", path.display())]
    Digest {
        /// Path of the file that differs.
        path: PathBuf,
        /// The property that differs: `size` or `sha256`.
        what: &'static str,
        /// The size of the file. The digest is not told, because it could be that of a file that the reader of the message may not read.
        found: String,
        /// The property's value in the manifest.
        expected: String,
    },
    /// The file with the goldens' tensors cannot be used.
    #[error("{}: the goldens cannot be used: {reason}. Copy the bundle again", path.display())]
    Goldens {
        /// Path of the file with the goldens' tensors.
        path: PathBuf,
        /// Description of the damage, such as a tensor that is missing.
        reason: String,
    },
    /// The model returned NaN or infinity for a golden.
    #[error("{}: {device} returns NaN or infinity for {what} of a golden: the model or the device is broken. Score with another \
        device (`device = \"cpu\"`) or another bundle", dir.display())]
    NotFinite {
        /// Directory of the bundle.
        dir: PathBuf,
        /// Name of the output, such as `the text embedding`.
        what: &'static str,
        /// Name of the device that computed the output.
        device: String,
    },
    /// The replayed goldens differ from the trainer's by more than the tolerance.
    #[error("{}: {what} of the goldens differs from the trainer's result by {difference:.3e} on {device}; at most {tolerance:.3e} \
        is allowed. Scores from this device cannot be trusted. Try another device (`device = \"cpu\"`); if that fails too, copy the \
        bundle again", dir.display())]
    Drift {
        /// Directory of the bundle.
        dir: PathBuf,
        /// Name of the output, such as `the score`.
        what: &'static str,
        /// The largest difference found, in the unit of the tolerance.
        difference: f32,
        /// The largest difference that is allowed on this device.
        tolerance: f32,
        /// Name of the device that computed the output.
        device: String,
    },
    /// The target of a new bundle exists and is neither an empty directory nor a bundle.
    #[error("{}: exists and is not a model bundle, so it is not replaced. Name a directory that does not exist yet", path.display())]
    InTheWay {
        /// The directory to be written.
        path: PathBuf,
    },
    /// The operating system returned an error.
    #[error("{}: {action}: {source}. Check the permissions and the disk", path.display())]
    Io {
        /// Path of the file or directory.
        path: PathBuf,
        /// The operation that failed, as part of a sentence: `cannot be read`.
        action: &'static str,
        /// The operating system's error.
        source: std::io::Error,
    },
}

impl BundleError {
    /// Returns a function that turns an I/O error on `path` into a [`BundleError::Io`].
    pub(super) fn io(path: &std::path::Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}
