//! Notices that another bundle was put in the place of the one in use.

use std::path::{Path, PathBuf};

use crate::identity::FileStamp;

/// Looks at the files of a bundle's directory, by name and state, never at their contents.
#[derive(Debug, Clone)]
pub(super) struct BundleWatch {
    dir: PathBuf,
    /// As it was when the bundle was loaded, or refused.
    settled: Option<Vec<(PathBuf, FileStamp)>>,
    /// As it was at the last look.
    last: Option<Vec<(PathBuf, FileStamp)>>,
    still_since: u32,
}

/// Looks without a change after which a replacement counts as complete.
const STILL: u32 = 3;

impl BundleWatch {
    /// To be made before the bundle is read: what is replaced meanwhile is then noticed.
    pub(super) fn new(dir: &Path) -> Self {
        let settled = look(dir);
        Self { dir: dir.to_owned(), last: settled.clone(), settled, still_since: 0 }
    }

    /// To be called about once a second: true once when the directory has changed and stands still again. A directory that went
    /// away is no replacement.
    pub(super) fn was_replaced(&mut self) -> bool {
        let seen = look(&self.dir);
        if seen != self.last {
            self.last = seen;
            self.still_since = 0;
            return false;
        }
        if seen.is_none() || seen == self.settled {
            return false;
        }
        self.still_since += 1;
        if self.still_since < STILL {
            return false;
        }
        self.settled = seen;
        true
    }
}

/// The files of a bundle, its report left out: that nobody loads. None where there is no bundle.
fn look(dir: &Path) -> Option<Vec<(PathBuf, FileStamp)>> {
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
    fn a_replacement_is_told_once_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle");
        std::fs::create_dir(&bundle).unwrap();
        std::fs::write(bundle.join("manifest.json"), "1").unwrap();
        let mut watch = BundleWatch::new(&bundle);
        let mut looks = |times: usize| (0..times).filter(|_| watch.was_replaced()).count();
        assert_eq!(looks(10), 0);
        // Copied over it, slowly.
        for size in 2..6 {
            std::fs::write(bundle.join("manifest.json"), "1".repeat(size)).unwrap();
            assert_eq!(looks(2), 0);
        }
        assert_eq!(looks(10), 1);
        // Renamed into place, the old one away first.
        std::fs::rename(&bundle, dir.path().join("old")).unwrap();
        assert_eq!(looks(10), 0);
        std::fs::create_dir(&bundle).unwrap();
        std::fs::write(bundle.join("manifest.json"), "other").unwrap();
        assert_eq!(looks(10), 1);
        assert_eq!(looks(10), 0);
    }
}
