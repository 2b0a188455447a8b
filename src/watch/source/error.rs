//! Errors of watching a directory, each with the setting that resolves it.

use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Why a directory cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The user's limit of inotify watches is reached.
    #[error(
        "{}: its {directories} directories need one inotify watch each, but this user's limit is {limit}. Raise the limit with `sysctl \
         fs.inotify.max_user_watches={}` (as root; permanently in /etc/sysctl.d/), or set source = \"poll\" under [watch] in the configuration",
        root.display(),
        suggested_limit(*directories, *limit)
    )]
    TooManyWatches {
        /// The watched directory.
        root: PathBuf,
        /// The number of directories in it, itself included.
        directories: u64,
        /// The user's limit of inotify watches; 0 if it cannot be read.
        limit: u64,
    },
    /// The user's limit of inotify instances is reached.
    #[error(
        "{}: the limit of this user's inotify instances, {limit}, is reached. Raise the limit with `sysctl \
         fs.inotify.max_user_instances={}` (as root; permanently in /etc/sysctl.d/), or set source = \"poll\" under [watch] in the configuration",
        root.display(),
        limit.saturating_mul(2).max(256)
    )]
    TooManyInstances {
        /// The watched directory.
        root: PathBuf,
        /// The user's limit of inotify instances; 0 if it cannot be read.
        limit: u64,
    },
    /// The directory cannot be watched for another reason.
    #[error("{}: cannot be watched: {reason}. Check its permissions, or set source = \"poll\" under [watch] in the configuration", root.display())]
    Failed {
        /// The watched directory.
        root: PathBuf,
        /// Error of the operating system or of the notify library.
        reason: String,
    },
}

impl WatchError {
    /// Converts an error of a system call.
    pub(super) fn of_io(root: &Path, error: io::Error) -> Self {
        Self::Failed { root: root.to_owned(), reason: error.to_string() }
    }

    /// Converts an error of notify.
    pub(super) fn of_notify(root: &Path, recursive: bool, error: &notify::Error) -> Self {
        let root = root.to_owned();
        match &error.kind {
            notify::ErrorKind::MaxFilesWatch => {
                let directories = if recursive { count_directories(&root) } else { 1 };
                Self::TooManyWatches { root, directories, limit: inotify_limit("max_user_watches") }
            }
            notify::ErrorKind::Io(io) if io.raw_os_error() == Some(EMFILE) => {
                Self::TooManyInstances { root, limit: inotify_limit("max_user_instances") }
            }
            _ => Self::Failed { root, reason: error.to_string() },
        }
    }
}

/// The error number of inotify_init(2) when the user has too many instances.
const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();

/// Reads a kernel limit of inotify, such as `max_user_watches`; 0 if it cannot be read.
pub fn inotify_limit(name: &str) -> u64 {
    let text = std::fs::read_to_string(Path::new("/proc/sys/fs/inotify").join(name));
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Counts the directories in `root`, itself included.
pub fn count_directories(root: &Path) -> u64 {
    WalkDir::new(root).into_iter().flatten().filter(|entry| entry.file_type().is_dir()).count() as u64
}

/// Suggests a limit of inotify watches: `limit` plus twice the number of directories of the root, and at least 65536.
fn suggested_limit(directories: u64, limit: u64) -> u64 {
    directories.saturating_mul(2).saturating_add(limit).max(65_536)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_comes_with_its_number_and_the_command_that_raises_it() {
        let error = WatchError::TooManyWatches { root: "/photos".into(), directories: 70_000, limit: 8192 };
        assert_eq!(
            error.to_string(),
            "/photos: its 70000 directories need one inotify watch each, but this user's limit is 8192. Raise the \
             limit with `sysctl fs.inotify.max_user_watches=148192` (as root; permanently in /etc/sysctl.d/), or set \
             source = \"poll\" under [watch] in the configuration"
        );
        let error = WatchError::TooManyInstances { root: "/photos".into(), limit: 128 };
        assert!(error.to_string().contains("`sysctl fs.inotify.max_user_instances=256`"), "{error}");
    }

    #[test]
    fn errors_of_notify_are_distinguished_and_the_limits_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let full = notify::Error::new(notify::ErrorKind::MaxFilesWatch);
        match WatchError::of_notify(dir.path(), true, &full) {
            WatchError::TooManyWatches { directories: 3, limit, .. } => assert!(limit > 0),
            other => panic!("{other}"),
        }
        assert!(matches!(
            WatchError::of_notify(dir.path(), false, &full),
            WatchError::TooManyWatches { directories: 1, .. }
        ));
        let instances = notify::Error::io(io::Error::from_raw_os_error(EMFILE));
        match WatchError::of_notify(dir.path(), true, &instances) {
            WatchError::TooManyInstances { limit, .. } => assert!(limit > 0),
            other => panic!("{other}"),
        }
        let other = WatchError::of_notify(dir.path(), true, &notify::Error::generic("odd"));
        assert!(other.to_string().contains("cannot be watched: odd. Check its permissions"), "{other}");
    }
}
