//! Access to the files below watched directories. Whoever may write there may replace a directory by a link at any moment, so a path is never
//! opened as a whole: the kernel resolves the part below the watched directory and refuses to leave it. Only this module uses cap-std.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::identity::{FileStamp, is_absence};

/// A watched directory with everything below it. Links are followed where they stay below the directory and are not absolute. Anything else
/// does not exist for this type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    root: Arc<Path>,
}

impl Tree {
    /// The tree below `root`, which need not exist. The path to `root` itself is trusted.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Returns the watched directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens the file at `path` for reading. Does not wait for the other end of a named pipe.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the tree has no such file; other errors of the system calls.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.open_with(path, OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    /// Returns the stamp of the regular file at `path`; `None` if the tree has no such file.
    ///
    /// # Errors
    /// The metadata cannot be read, because of permissions or a failing disk. The file may exist in this case.
    pub fn stamp(&self, path: &Path) -> io::Result<Option<FileStamp>> {
        match self.open_with(path, OFlags::PATH).and_then(|file| file.metadata()) {
            Ok(metadata) => Ok(metadata.is_file().then(|| FileStamp::of(&metadata))),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether the tree has no regular file at `path`. A file that cannot be checked is assumed to exist.
    pub fn lacks(&self, path: &Path) -> bool {
        matches!(self.stamp(path), Ok(None))
    }

    /// The root is opened for each file and not kept open, because an open directory keeps its card from being unmounted.
    fn open_with(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let below = path.strip_prefix(&self.root).map_err(|_| ErrorKind::NotFound)?;
        let dir = Dir::open_ambient_dir(&self.root, ambient_authority())?;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags.bits().cast_signed());
        match dir.open_with(below, &options) {
            Ok(file) => Ok(file.into_std()),
            Err(error) if leads_nowhere(&error) => Err(ErrorKind::NotFound.into()),
            Err(error) => Err(error),
        }
    }
}

/// Whether links lead out of the directory or in a circle. cap-std's error for a path out of the directory comes from no system call.
fn leads_nowhere(error: &io::Error) -> bool {
    match error.raw_os_error() {
        None => error.kind() == ErrorKind::PermissionDenied,
        Some(code) => code == Errno::LOOP.raw_os_error(),
    }
}

/// The watched directories. They may lie in each other.
#[derive(Debug, Clone)]
pub struct Trees(Vec<Tree>);

impl Trees {
    /// The trees below `roots`.
    pub fn new(roots: &[PathBuf]) -> Self {
        Self(roots.iter().map(|root| Tree::new(root)).collect())
    }

    /// Returns the tree that contains `path`; the innermost of several.
    pub fn of(&self, path: &Path) -> Option<&Tree> {
        self.0.iter().filter(|tree| path.starts_with(tree.root())).max_by_key(|tree| tree.root().as_os_str().len())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// A watched directory `root` beside a directory `outside`, with a file `a.jpg` in each.
    fn two_directories() -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["root", "outside"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("a.jpg"), name).unwrap();
        }
        let tree = Tree::new(&dir.path().join("root"));
        (dir, tree)
    }

    #[test]
    fn nothing_outside_the_tree_exists_for_it() {
        let (dir, tree) = two_directories();
        let at = |name: &str| tree.root().join(name);
        symlink("a.jpg", at("in.jpg")).unwrap();
        symlink("../outside/a.jpg", at("out.jpg")).unwrap();
        symlink(dir.path().join("outside/a.jpg"), at("absolute.jpg")).unwrap();
        symlink(dir.path().join("outside"), at("dir")).unwrap();
        symlink("/proc/self/root", at("magic")).unwrap();
        symlink("nowhere", at("dangling.jpg")).unwrap();
        symlink("loop.jpg", at("loop.jpg")).unwrap();
        for name in ["a.jpg", "in.jpg"] {
            let mut text = String::new();
            tree.open(&at(name)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "root", "{name}");
            assert_eq!(tree.stamp(&at(name)).unwrap(), FileStamp::read(&at("a.jpg")).unwrap());
        }
        let absent = [
            "out.jpg",
            "absolute.jpg",
            "dir/a.jpg",
            "../outside/a.jpg",
            "magic/etc/passwd",
            "dangling.jpg",
            "loop.jpg",
            "gone.jpg",
        ];
        for name in absent {
            assert_eq!(tree.open(&at(name)).unwrap_err().kind(), ErrorKind::NotFound, "{name}");
            assert!(tree.lacks(&at(name)), "{name}");
        }
        assert!(tree.lacks(&dir.path().join("outside/a.jpg")));
        assert!(tree.lacks(tree.root()), "a directory");
    }

    #[test]
    fn a_directory_that_becomes_a_link_takes_its_files_with_it() {
        let (dir, tree) = two_directories();
        let path = tree.root().join("sub/a.jpg");
        fs::create_dir(tree.root().join("sub")).unwrap();
        fs::write(&path, "root").unwrap();
        assert!(!tree.lacks(&path));
        fs::rename(tree.root().join("sub"), tree.root().join("was")).unwrap();
        symlink(dir.path().join("outside"), tree.root().join("sub")).unwrap();
        assert!(path.exists());
        assert!(tree.lacks(&path));
        assert_eq!(tree.open(&path).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_named_pipe_is_no_file_and_opening_it_does_not_wait() {
        let (_dir, tree) = two_directories();
        let path = tree.root().join("pipe.jpg");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(tree.lacks(&path));
        assert!(!tree.open(&path).unwrap().metadata().unwrap().is_file());
    }

    #[test]
    fn a_path_belongs_to_the_innermost_tree() {
        let trees = Trees::new(&["/a".into(), "/a/b".into()]);
        let root = |path: &str| trees.of(Path::new(path)).map(|tree| tree.root().to_str().unwrap().to_owned());
        assert_eq!(root("/a/x.jpg").as_deref(), Some("/a"));
        assert_eq!(root("/a/b/x.jpg").as_deref(), Some("/a/b"));
        assert_eq!(root("/ab/x.jpg"), None);
    }
}
