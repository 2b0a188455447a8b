//! Metadata that identifies one version of a file without reading its content.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Size, times and inode of a file. They distinguish one version of the file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileStamp {
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Modification time, in nanoseconds since 1970. Programs may set it to any value.
    pub mtime_ns: i64,
    /// Time of the last change of the inode, in nanoseconds since 1970. Only the kernel sets it.
    pub ctime_ns: i64,
    /// Inode number. It changes when another file is renamed over this one.
    pub inode: u64,
}

/// The part of a [`FileStamp`] that the database records: size and modification time. Change time and inode are left out,
/// because they can change while the content stays the same, for example when a card is copied to a larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedStamp {
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Modification time, in nanoseconds since 1970.
    pub mtime_ns: i64,
}

impl FileStamp {
    /// Returns the stamp of the regular file at `path` after following links; none if there is no such file.
    ///
    /// # Errors
    /// Fails if the metadata cannot be read, because of permissions or a failing disk. The file may exist in this case.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_file().then(|| Self::of(&metadata))),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the stamp in a file's metadata.
    pub fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            size_bytes: metadata.size(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Returns the part that the database records.
    pub fn recorded(self) -> RecordedStamp {
        RecordedStamp { size_bytes: self.size_bytes, mtime_ns: self.mtime_ns }
    }
}

/// Returns true if the error means that the file does not exist. After any other error the file may exist.
pub fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_changes_with_its_file_and_is_none_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jpg");
        assert_eq!(FileStamp::read(&path).unwrap(), None);
        std::fs::write(&path, "12345").unwrap();
        let first = FileStamp::read(&path).unwrap().unwrap();
        assert_eq!(first.size_bytes, 5);
        assert!(first.mtime_ns > 1_700_000_000_000_000_000);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let second = FileStamp::read(&path).unwrap().unwrap();
        assert_eq!(second.recorded(), RecordedStamp { size_bytes: 5, mtime_ns: 0 });
        assert_eq!(second.inode, first.inode);
        assert!(second.ctime_ns >= first.ctime_ns && second != first);
        assert_eq!(FileStamp::read(dir.path()).unwrap(), None, "a directory");
        assert_eq!(FileStamp::read(&path.join("below")).unwrap(), None);
    }
}
