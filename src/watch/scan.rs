//! Lists the images in a directory. A scan reads names and metadata, never contents. It keeps no list of files, so its
//! memory does not grow with the directory.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::names::{has_image_extension, is_hidden};
use super::tree::Tree;
use crate::identity::FileStamp;

/// An image file that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Path of the file. It starts with the scanned directory as the caller named it.
    pub path: PathBuf,
    /// Stamp of the file at the time of the scan.
    pub stamp: FileStamp,
}

/// The reason why a directory, or an entry in it, cannot be scanned.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The scanned directory does not exist. The state of the files in it is unknown.
    #[error("{}: the directory does not exist. Mount or create it. The scores of its images are kept", root.display())]
    Offline {
        /// Path of the missing directory.
        root: PathBuf,
    },
    /// The path is not a directory, or it leads out of the root.
    #[error("{}: not a directory inside the watched directory. Name the directory that holds the images", root.display())]
    NotADirectory {
        /// The path that cannot be scanned.
        root: PathBuf,
    },
    /// A directory or file cannot be read. A scan in progress continues without it.
    #[error("{}: cannot be read: {source}. Give this user read access to it and search access to the directories above it, or move it out of the watched directory", path.display())]
    Unreadable {
        /// Path of the directory or file.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
}

/// The state of a root before a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootState {
    /// The root exists and is not empty.
    Online,
    /// The root exists and is empty. The mount point of a removed card looks the same, so treat known files in it as
    /// offline.
    Empty,
    /// The root does not exist, for example because its card or network share is not mounted.
    Offline,
}

/// Returns the state of the directory `root`.
///
/// # Errors
/// `root` is not a directory, or it cannot be read.
pub fn root_state(root: &Path) -> Result<RootState, ScanError> {
    match std::fs::read_dir(root) {
        Ok(mut entries) => Ok(if entries.next().is_some() { RootState::Online } else { RootState::Empty }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(RootState::Offline),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(ScanError::NotADirectory { root: root.to_owned() })
        }
        Err(source) => Err(ScanError::Unreadable { path: root.to_owned(), source }),
    }
}

/// Starts a scan of `dir`, which is the watched directory `root` or lies in it. With `recursive` the scan includes
/// subdirectories.
///
/// Links to directories are not followed. A link to a file is included only if its target lies in `root`, so a scan
/// never reaches a file outside the watched tree.
///
/// # Errors
/// [`ScanError::Offline`] if `dir` does not exist; [`ScanError::NotADirectory`] if it is not a directory or leads out of
/// `root`; [`ScanError::Unreadable`] if it cannot be read. Later errors are items of the scan and do not end it.
pub fn scan(root: &Path, dir: &Path, recursive: bool) -> Result<Scan, ScanError> {
    if root_state(dir)? == RootState::Offline {
        return Err(ScanError::Offline { root: dir.to_owned() });
    }
    let canonical =
        |path: &Path| path.canonicalize().map_err(|source| ScanError::Unreadable { path: path.to_owned(), source });
    if !canonical(dir)?.starts_with(canonical(root)?) {
        return Err(ScanError::NotADirectory { root: dir.to_owned() });
    }
    let depth = if recursive { usize::MAX } else { 1 };
    let walk = WalkDir::new(dir).follow_links(false).min_depth(1).max_depth(depth).into_iter();
    Ok(Scan { walk, tree: Tree::new(root) })
}

/// Counts the files in `dir` that have an image's name. It does not check links, so the number is approximate.
pub fn count(dir: &Path, recursive: bool) -> u64 {
    let depth = if recursive { usize::MAX } else { 1 };
    let walk = WalkDir::new(dir).follow_links(false).min_depth(1).max_depth(depth).into_iter();
    let visible = walk.filter_entry(|entry| !is_hidden(entry.file_name())).flatten();
    visible.filter(|e| !e.file_type().is_dir() && has_image_extension(Path::new(e.file_name()))).count() as u64
}

/// A scan in progress. This iterator yields the images and the unreadable entries, in no particular order.
#[derive(Debug)]
pub struct Scan {
    walk: walkdir::IntoIter,
    tree: Tree,
}

impl Iterator for Scan {
    type Item = Result<Found, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.walk.next()? {
                Ok(entry) => entry,
                Err(error) => match unreadable(error) {
                    Some(error) => return Some(Err(error)),
                    None => continue,
                },
            };
            if is_hidden(entry.file_name()) {
                if entry.file_type().is_dir() {
                    self.walk.skip_current_dir();
                }
            } else if has_image_extension(Path::new(entry.file_name())) {
                match self.look_at(&entry) {
                    Ok(Some(stamp)) => return Some(Ok(Found { path: entry.into_path(), stamp })),
                    Ok(None) => {}
                    Err(source) => return Some(Err(ScanError::Unreadable { path: entry.into_path(), source })),
                }
            }
        }
    }
}

impl Scan {
    /// Returns the stamp of an image file; `None` for directories, devices, pipes, links out of the tree and files that are gone.
    fn look_at(&self, entry: &DirEntry) -> io::Result<Option<FileStamp>> {
        let kind = entry.file_type();
        if kind.is_file() || kind.is_symlink() { self.tree.stamp(entry.path()) } else { Ok(None) }
    }
}

/// Converts an error of the walk; `None` if the entry was deleted during the scan.
fn unreadable(error: walkdir::Error) -> Option<ScanError> {
    let path = error.path().unwrap_or(Path::new(OsStr::new(""))).to_owned();
    let source = error.into_io_error().unwrap_or_else(|| io::Error::other("its symbolic links form a loop"));
    (source.kind() != io::ErrorKind::NotFound).then_some(ScanError::Unreadable { path, source })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

    use super::*;

    fn found(root: &Path, recursive: bool) -> Vec<String> {
        let mut names: Vec<String> = scan(root, root, recursive)
            .unwrap()
            .map(|found| found.unwrap().path.strip_prefix(root).unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn touch(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
    }

    #[test]
    fn images_are_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &["a.jpg", "B.PNG", "c.txt", "d.jpg.part", ".e.jpg", ".trash/f.jpg", "sub/g.webp", "sub/h/i.jpeg"],
        );
        fs::create_dir(dir.path().join("folder.jpg")).unwrap();
        assert_eq!(found(dir.path(), true), ["B.PNG", "a.jpg", "sub/g.webp", "sub/h/i.jpeg"]);
        assert_eq!(found(dir.path(), false), ["B.PNG", "a.jpg"]);
        let sub = dir.path().join("sub");
        assert_eq!(scan(dir.path(), &sub, true).unwrap().count(), 2);
        let a =
            scan(dir.path(), dir.path(), false).unwrap().map(Result::unwrap).find(|found| found.stamp.size_bytes == 5);
        assert_eq!(a.unwrap().stamp, FileStamp::read(&dir.path().join("a.jpg")).unwrap().unwrap());
    }

    #[test]
    fn odd_names_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let names: [&[u8]; 4] = [b"new\nline.jpg", b"\xff\xfe.jpg", b"it's \"it\" \x1b[31m.jpg", b"-rf .jpg"];
        for name in names {
            fs::write(dir.path().join(OsStr::from_bytes(name)), "x").unwrap();
        }
        let mut found: Vec<PathBuf> = scan(dir.path(), dir.path(), true).unwrap().map(|f| f.unwrap().path).collect();
        found.sort();
        let mut expected = names.map(|name| dir.path().join(OsStr::from_bytes(name)));
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn links_never_lead_out_of_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        touch(&root, &["real.jpg", "sub/deep.jpg"]);
        touch(&outside, &["secret.jpg"]);
        symlink(outside.join("secret.jpg"), root.join("leak.jpg")).unwrap();
        symlink("../outside/secret.jpg", root.join("relative-leak.jpg")).unwrap();
        symlink(&outside, root.join("leaking-dir")).unwrap();
        symlink(&outside, root.join("leaking-dir.jpg")).unwrap();
        symlink(&root, root.join("sub/loop")).unwrap();
        symlink("real.jpg", root.join("inside.jpg")).unwrap();
        symlink("nowhere.jpg", root.join("dangling.jpg")).unwrap();
        symlink("self.jpg", root.join("self.jpg")).unwrap();
        assert_eq!(found(&root, true), ["inside.jpg", "real.jpg", "sub/deep.jpg"]);

        let leaking = root.join("leaking-dir");
        assert!(matches!(scan(&root, &leaking, true), Err(ScanError::NotADirectory { .. })));

        // A root may itself be a link to a directory.
        let by_link = dir.path().join("by-link");
        symlink(&root, &by_link).unwrap();
        assert_eq!(found(&by_link, true), ["inside.jpg", "real.jpg", "sub/deep.jpg"]);
    }

    #[test]
    fn pipes_and_devices_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, dir.path().join("pipe.jpg"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        touch(dir.path(), &["a.jpg"]);
        assert_eq!(found(dir.path(), true), ["a.jpg"]);
    }

    #[test]
    fn a_missing_root_is_offline_and_an_empty_one_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(root_state(dir.path()).unwrap(), RootState::Empty);
        let gone = dir.path().join("gone");
        assert_eq!(root_state(&gone).unwrap(), RootState::Offline);
        let error = scan(&gone, &gone, true).unwrap_err();
        assert!(matches!(error, ScanError::Offline { .. }));
        assert!(error.to_string().ends_with("Mount or create it. The scores of its images are kept"), "{error}");
        touch(dir.path(), &["file.jpg"]);
        assert_eq!(root_state(dir.path()).unwrap(), RootState::Online);
        let file = dir.path().join("file.jpg");
        assert!(matches!(scan(&file, &file, true), Err(ScanError::NotADirectory { .. })));
    }

    #[test]
    fn unreadable_entries_are_reported_and_the_rest_is_found() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["a.jpg", "z/b.jpg"]);
        // The superuser can read a path without permissions, so the test uses a path above the system's length limit.
        let name = "d".repeat(200);
        let mut parent = openat(CWD, dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..22 {
            mkdirat(&parent, &name, Mode::RWXU).unwrap();
            parent = openat(&parent, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        let (found, errors): (Vec<_>, Vec<_>) = scan(dir.path(), dir.path(), true).unwrap().partition(Result::is_ok);
        assert_eq!(found.len(), 2);
        assert_eq!(errors.len(), 1);
        let error = errors.into_iter().next().unwrap().unwrap_err();
        assert!(matches!(error, ScanError::Unreadable { .. }));
        assert!(error.to_string().contains("cannot be read: File name too long"), "{error}");
    }

    #[test]
    fn a_forbidden_directory_is_reported_and_the_rest_is_found() {
        use std::os::unix::fs::PermissionsExt;
        if rustix::process::geteuid().is_root() {
            return edge_testing::skip(
                "watch::scan::a_forbidden_directory",
                "nothing is forbidden to the superuser; run the tests as another user",
            );
        }
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["a.jpg", "closed/b.jpg"]);
        let closed = dir.path().join("closed");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        let results: Vec<_> = scan(dir.path(), dir.path(), true).unwrap().collect();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert!(
            matches!(&results.iter().find(|r| r.is_err()), Some(Err(ScanError::Unreadable { path, .. })) if *path == closed)
        );
    }
}
