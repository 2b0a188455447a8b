//! Every reason to refuse a bundle. Each stops the program (or a reload), never a single image.

use std::path::PathBuf;

/// Why a bundle was refused or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is no such directory.
    #[error("{}: there is no model bundle here. Give --model DIR or [model] dir in the configuration", dir.display())]
    Missing {
        /// Where a bundle was looked for.
        dir: PathBuf,
    },
    /// The directory has no manifest.
    #[error("{}: not a model bundle, it has no manifest.json. Name the directory that `edge-trainer fit --out` wrote", dir.display())]
    NoManifest {
        /// The directory.
        dir: PathBuf,
    },
    /// The manifest is no JSON or lacks or exceeds its schema.
    #[error("{}: the manifest is damaged or not one: {reason}. Copy the bundle again from where it came from", path.display())]
    Manifest {
        /// The manifest's path.
        path: PathBuf,
        /// What is wrong and where.
        reason: String,
    },
    /// The manifest is of another schema version.
    #[error("{}: manifest schema version {found} is unknown, this program reads version {known}. {}", path.display(),
        if *found > u64::from(*known) { "Update edge-scorer" } else { "Write the bundle again with this version's edge-trainer" })]
    SchemaVersion {
        /// The manifest's path.
        path: PathBuf,
        /// The version in the file.
        found: u64,
        /// The version that this build knows.
        known: u32,
    },
    /// The manifest contradicts itself.
    #[error("{}: the manifest cannot be followed: {reason}", path.display())]
    Inconsistent {
        /// The manifest's path.
        path: PathBuf,
        /// The contradiction.
        reason: String,
    },
    /// A file of the bundle is not there.
    #[error("{}: the bundle lacks this file. Copy the bundle again, with all of its files", path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
    },
    /// A file differs from the manifest.
    #[error("{}: the file differs from the manifest ({what} is {found}, the manifest says {expected}): it was changed or \
        cut off. Copy the bundle again", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// `size` or `sha256`.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The goldens cannot be read.
    #[error("{}: the goldens cannot be used: {reason}. Copy the bundle again", path.display())]
    Goldens {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The model answers NaN or infinity.
    #[error("{}: {what} of the goldens is not finite on {device}: the model or the device is broken. Score with another \
        device (`device = \"cpu\"`) or another bundle", dir.display())]
    NotFinite {
        /// The bundle.
        dir: PathBuf,
        /// Which output.
        what: &'static str,
        /// The device it ran on.
        device: String,
    },
    /// The model does not answer what its trainer saw.
    #[error("{}: {what} of the goldens is off by {difference:.3e} on {device}, the bundle allows {tolerance:.3e}: scores from \
        here cannot be trusted. Try another device (`device = \"cpu\"`); if that fails too, copy the bundle again", dir.display())]
    Drift {
        /// The bundle.
        dir: PathBuf,
        /// Which output.
        what: &'static str,
        /// Largest difference seen.
        difference: f32,
        /// Largest difference allowed.
        tolerance: f32,
        /// The device it ran on.
        device: String,
    },
    /// Something else stands where a bundle is to be written.
    #[error("{}: holds something that is no model bundle, so it is not replaced. Name a directory that does not exist yet", path.display())]
    InTheWay {
        /// The target.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, such as `cannot be read`.
        action: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl BundleError {
    pub(super) fn io(path: &std::path::Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}
