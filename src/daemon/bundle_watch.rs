//! Detects that the bundle in use was replaced by another one.

use std::path::{Path, PathBuf};

use crate::identity::FileStamp;

/// Watches the files of a bundle directory by name and file stamp. It does not read their contents.
#[derive(Debug, Clone)]
pub(super) struct BundleWatch {
    pub(super) dir: PathBuf,
    /// The bundle's files when the bundle was last loaded or refused.
    accepted: Option<Vec<(PathBuf, FileStamp)>>,
    /// The bundle's files at the last check.
    last: Option<Vec<(PathBuf, FileStamp)>>,
    unchanged_checks: u32,
}

/// Number of checks without a change after which a replacement counts as complete.
const UNCHANGED_CHECKS: u32 = 3;

impl BundleWatch {
    /// Creates the watch. Call it before the bundle is read, so that a replacement during loading is detected.
    pub(super) fn new(dir: &Path) -> Self {
        let accepted = list_files(dir);
        Self { dir: dir.to_owned(), last: accepted.clone(), accepted, unchanged_checks: 0 }
    }

    /// Returns true once after each completed replacement. Call it about once a second. A deleted directory is not a replacement.
    pub(super) fn was_replaced(&mut self) -> bool {
        let seen = list_files(&self.dir);
        if seen != self.last {
            self.last = seen;
            self.unchanged_checks = 0;
            return false;
        }
        if seen.is_none() || seen == self.accepted {
            return false;
        }
        self.unchanged_checks += 1;
        if self.unchanged_checks < UNCHANGED_CHECKS {
            return false;
        }
        self.accepted = seen;
        true
    }
}

/// Returns the files of a bundle directory with their stamps, or `None` if it does not exist or is empty.
fn list_files(dir: &Path) -> Option<Vec<(PathBuf, FileStamp)>> {
    let entries = std::fs::read_dir(dir).ok()?;
    let stamp = |path: PathBuf| FileStamp::read(&path).ok().flatten().map(|stamp| (path, stamp));
    let mut files: Vec<_> = entries.flatten().filter_map(|entry| stamp(entry.path())).collect();
    files.sort();
    (!files.is_empty()).then_some(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_is_reported_once_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle");
        std::fs::create_dir(&bundle).unwrap();
        std::fs::write(bundle.join("manifest.json"), "1").unwrap();
        let mut watch = BundleWatch::new(&bundle);
        let mut looks = |times: usize| (0..times).filter(|_| watch.was_replaced()).count();
        assert_eq!(looks(10), 0);
        // The new bundle is copied over the old one, slowly.
        for size in 2..6 {
            std::fs::write(bundle.join("manifest.json"), "1".repeat(size)).unwrap();
            assert_eq!(looks(2), 0);
        }
        assert_eq!(looks(10), 1);
        // The old bundle is renamed away, then the new one is put in its place.
        std::fs::rename(&bundle, dir.path().join("old")).unwrap();
        assert_eq!(looks(10), 0);
        std::fs::create_dir(&bundle).unwrap();
        std::fs::write(bundle.join("manifest.json"), "other").unwrap();
        assert_eq!(looks(10), 1);
        assert_eq!(looks(10), 0);
    }
}
