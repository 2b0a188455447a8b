//! A file's size, modification time and inode: what tells one state of a file from another without reading it.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One state of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileStamp {
    /// Its size.
    pub size_bytes: u64,
    /// Its modification time, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Its inode: another one means that another file was put in its place.
    pub inode: u64,
}

impl FileStamp {
    /// The stamp of the regular file at `path`, links followed; none where there is no such file.
    ///
    /// # Errors
    /// A file that cannot be looked at, because of permissions or a failing disk, is an error: it may well be there.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_file().then(|| Self::of(&metadata))),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Like [`FileStamp::read`], but a file that lies outside the directory `root`, once every link on the way is followed, counts
    /// as not there: for paths that come from hints.
    ///
    /// # Errors
    /// As those of [`FileStamp::read`]; also where `root` cannot be looked at.
    pub fn read_inside(root: &Path, path: &Path) -> io::Result<Option<Self>> {
        let target = match path.canonicalize() {
            Ok(target) => target,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if target.starts_with(root.canonicalize()?) { Self::read(&target) } else { Ok(None) }
    }

    /// The stamp in a file's metadata.
    pub fn of(metadata: &Metadata) -> Self {
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { size_bytes: metadata.size(), mtime_ns, inode: metadata.ino() }
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_links_out_of_the_root_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        for path in [&root, &outside] {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("a.jpg"), "x").unwrap();
        }
        symlink("a.jpg", root.join("in.jpg")).unwrap();
        symlink("../outside/a.jpg", root.join("out.jpg")).unwrap();
        symlink(&outside, root.join("dir")).unwrap();
        symlink("nowhere", root.join("dangling.jpg")).unwrap();
        let read = |name: &str| FileStamp::read_inside(&root, &root.join(name)).unwrap();
        let stamp = FileStamp::read(&root.join("a.jpg")).unwrap();
        assert_eq!([read("a.jpg"), read("in.jpg")], [stamp, stamp]);
        for name in ["out.jpg", "dir/a.jpg", "../outside/a.jpg", "dangling.jpg", "gone.jpg"] {
            assert_eq!(read(name), None, "{name}");
        }
    }

    #[test]
    fn a_stamp_changes_with_the_file_and_goes_with_it() {
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
        assert_eq!(second, FileStamp { mtime_ns: 0, ..first });
        assert_eq!(FileStamp::read(dir.path()).unwrap(), None, "a directory");
        assert_eq!(FileStamp::read(&path.join("below")).unwrap(), None);
    }
}
