//! Writes a bundle into a temporary directory beside the target, verifies it there and renames it into place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tempfile::TempDir;

use super::digest::sha256_hex;
use super::error::BundleError;
use super::manifest::{FileDigest, Manifest, file};
use super::quantiles::QuantileFile;

/// An unfinished bundle. Dropping it removes its temporary directory.
#[derive(Debug)]
pub struct BundleWriter {
    target: PathBuf,
    work: TempDir,
    files: BTreeMap<String, FileDigest>,
}

impl BundleWriter {
    /// Starts a bundle to be placed at `target`. Parent directories are created.
    ///
    /// # Errors
    /// [`BundleError::InTheWay`] if `target` exists and is neither an empty directory nor a bundle; [`BundleError::Io`].
    pub fn create(target: &Path) -> Result<Self, BundleError> {
        let target = std::path::absolute(target).map_err(BundleError::io(target, "is not a usable path"))?;
        require_replaceable(&target)?;
        let parent = target.parent().unwrap_or(Path::new("/")).to_owned();
        std::fs::create_dir_all(&parent).map_err(BundleError::io(&parent, "cannot be created"))?;
        let work = tempfile::Builder::new()
            .prefix(".bundle-")
            .tempdir_in(&parent)
            .map_err(BundleError::io(&parent, "cannot hold a temporary directory"))?;
        Ok(Self { target, work, files: BTreeMap::new() })
    }

    /// Adds a file. `name` is relative to the bundle; the file's digest goes into the manifest.
    ///
    /// # Errors
    /// [`BundleError::Io`].
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), BundleError> {
        write_synced(&self.work.path().join(name), bytes)?;
        let digest = FileDigest { sha256: sha256_hex(bytes), size_bytes: bytes.len() as u64 };
        self.files.insert(name.to_owned(), digest);
        Ok(())
    }

    /// Writes the manifest with its `files` filled in, calls `verify` on the finished directory and renames the directory into
    /// place. Returns the result of `verify`. An existing bundle is replaced in one step where the file system allows it. If anything
    /// fails, the existing bundle stays.
    ///
    /// # Errors
    /// The error of `verify`, or a [`BundleError`] converted to the error type of `verify`.
    pub fn finish<T, E: From<BundleError>>(
        mut self,
        mut manifest: Manifest,
        verify: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = self.work.path().join(file::QUANTILES);
        if let Some(quantiles) = QuantileFile::taken_from(&mut manifest) {
            let json = serde_json::to_string(&quantiles)
                .map_err(|e| BundleError::Manifest { path: path.clone(), reason: e.to_string() })?;
            self.add(file::QUANTILES, (json + "\n").as_bytes())?;
        }
        manifest.files = self.files;
        let path = self.work.path().join(file::MANIFEST);
        let json = serde_json::to_string_pretty(&manifest)
            .map_err(|e| BundleError::Manifest { path: path.clone(), reason: e.to_string() })?;
        write_synced(&path, (json + "\n").as_bytes())?;
        let verified = verify(self.work.path())?;
        require_replaceable(&self.target)?;
        put_in_place(self.work, &self.target)?;
        Ok(verified)
    }
}

/// Refuses a target that must not be replaced. Replacing deletes the old directory, and only a bundle may be deleted.
fn require_replaceable(target: &Path) -> Result<(), BundleError> {
    let replaceable = match std::fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none() || target.join(file::MANIFEST).is_file(),
        Err(e) => e.kind() == ErrorKind::NotFound && !target.is_symlink(),
    };
    if replaceable { Ok(()) } else { Err(BundleError::InTheWay { path: target.to_owned() }) }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    let action = "cannot be written";
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(BundleError::io(parent, "cannot be created"))?;
    }
    std::fs::write(path, bytes).map_err(BundleError::io(path, action))?;
    File::open(path).and_then(|f| f.sync_all()).map_err(BundleError::io(path, action))
}

fn put_in_place(work: TempDir, target: &Path) -> Result<(), BundleError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = || BundleError::io(target, "the finished bundle cannot be moved to this path");
    // Temporary directories are private, but the daemon's own user must be able to read a bundle.
    std::fs::set_permissions(work.path(), std::fs::Permissions::from_mode(0o755)).map_err(failed())?;
    if target.exists() {
        // An exchange of both names leaves no moment without a bundle. Afterwards `work` holds the old one.
        match renameat_with(CWD, work.path(), CWD, target, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                exchange_in_steps(work.path(), target).map_err(failed())?
            }
            other => other.map_err(|e| failed()(e.into()))?,
        }
        drop(work);
    } else {
        std::fs::rename(work.path(), target).map_err(failed())?;
        // The directory has a new name, so the guard must not remove the old one.
        let _ = work.keep();
    }
    let parent = target.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|d| d.sync_all()).map_err(BundleError::io(parent, "cannot be synchronised"))
}

/// Replaces `target` by `work` on file systems that cannot exchange two names, such as NFS: the old bundle is renamed first, and renamed
/// back if the new one cannot be put in its place.
fn exchange_in_steps(work: &Path, target: &Path) -> io::Result<()> {
    let aside = tempfile::Builder::new().prefix(".bundle-").tempdir_in(target.parent().unwrap_or(Path::new("/")))?;
    let old = aside.path().join("old");
    std::fs::rename(target, &old)?;
    std::fs::rename(work, target).inspect_err(|_| drop(std::fs::rename(&old, target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exchanged_in_steps_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let [work, target, gone] = ["work", "target", "gone"].map(|name| dir.path().join(name));
        for (path, text) in [(&work, "new"), (&target, "old")] {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("file"), text).unwrap();
        }
        let read = || std::fs::read_to_string(target.join("file")).unwrap();
        assert!(exchange_in_steps(&gone, &target).is_err());
        assert_eq!(read(), "old");
        exchange_in_steps(&work, &target).unwrap();
        assert_eq!(read(), "new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
