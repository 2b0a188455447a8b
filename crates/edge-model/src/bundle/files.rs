//! The files of a bundle's directory. Bundles come from strangers: links are not followed, nothing but a regular file inside the directory is
//! opened, and no more is read of a file than the manifest states.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::digest::sha256_hex;
use super::error::BundleError;
use super::manifest::{FileDigest, file};

/// Largest size of `manifest.json`.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// Largest size of a graph, which is that of an ONNX file without external data.
pub const MAX_GRAPH_BYTES: u64 = 2 << 30;
/// Largest size of any other file, such as the tokenizer or a golden image.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Largest size of a file that a manifest names.
pub(super) fn max_bytes(name: &str) -> u64 {
    if file::GRAPHS.contains(&name) { MAX_GRAPH_BYTES } else { MAX_FILE_BYTES }
}

/// Whether a relative file name stays inside the bundle.
pub(super) fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
}

/// An open directory. All files are those of this directory, even if another one is put in its place.
#[derive(Debug)]
pub(super) struct BundleDir {
    path: PathBuf,
    handle: OwnedFd,
}

impl BundleDir {
    /// Opens the directory. Its own path may contain links.
    pub(super) fn open(path: &Path) -> Result<Self, BundleError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(handle) => Ok(Self { path: path.to_owned(), handle }),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(BundleError::Missing { dir: path.to_owned() }),
            Err(error) => Err(BundleError::io(path, "cannot be opened")(error.into())),
        }
    }

    /// Whether its path leads to another directory by now, because the bundle was replaced.
    pub(super) fn was_replaced(&self) -> bool {
        let is_same =
            |now: rustix::fs::Stat, own: rustix::fs::Stat| (now.st_dev, now.st_ino) == (own.st_dev, own.st_ino);
        let (now, own) = (rustix::fs::stat(&self.path), rustix::fs::fstat(&self.handle));
        now.is_ok_and(|now| own.is_ok_and(|own| !is_same(now, own)))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the manifest, byte for byte.
    pub(super) fn read_manifest(&self) -> Result<String, BundleError> {
        let path = self.path.join(file::MANIFEST);
        let opened = self.open_file(file::MANIFEST).map_err(|error| match error {
            BundleError::MissingFile { .. } => BundleError::NoManifest { dir: self.path.clone() },
            other => other,
        })?;
        let fail = |reason: String| BundleError::Manifest { path: path.clone(), reason };
        let bytes = read_at_most(&path, &opened, MAX_MANIFEST_BYTES)?;
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(fail(format!("it has more than {} MiB", MAX_MANIFEST_BYTES >> 20)));
        }
        String::from_utf8(bytes).map_err(|_| fail("it is not UTF-8".to_owned()))
    }

    /// Checks that the file exists and has the size that the manifest states.
    pub(super) fn check_size(&self, name: &str, expected: &FileDigest) -> Result<(), BundleError> {
        let path = self.path.join(name);
        let size = self.open_file(name)?.metadata().map_err(BundleError::io(&path, "cannot be read"))?.len();
        compare_sizes(&path, size, expected)
    }

    /// Reads a file whose size and digest are those in the manifest.
    pub(super) fn read(&self, name: &str, expected: &FileDigest) -> Result<Vec<u8>, BundleError> {
        let path = self.path.join(name);
        let opened = self.open_file(name)?;
        let size = opened.metadata().map_err(BundleError::io(&path, "cannot be read"))?.len();
        compare_sizes(&path, size, expected)?;
        let bytes = read_at_most(&path, &opened, expected.size_bytes)?;
        compare_sizes(&path, bytes.len() as u64, expected)?;
        if !sha256_hex(&bytes).eq_ignore_ascii_case(&expected.sha256) {
            let differs = BundleError::Digest {
                path,
                what: "sha256",
                found: "another".to_owned(),
                expected: expected.sha256.clone(),
            };
            return Err(differs);
        }
        Ok(bytes)
    }

    /// Opens a regular file of the directory or of a directory in it. Opening a named pipe does not wait.
    fn open_file(&self, name: &str) -> Result<File, BundleError> {
        let path = self.path.join(name);
        let mut inner: Option<OwnedFd> = None;
        let mut components = Path::new(name).components().peekable();
        while let Some(component) = components.next() {
            let kind = if components.peek().is_some() { OFlags::DIRECTORY } else { OFlags::NONBLOCK };
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
            let parent = inner.as_ref().unwrap_or(&self.handle);
            let opened = rustix::fs::openat(parent, component.as_os_str(), flags, Mode::empty());
            inner = Some(opened.map_err(|error| match error {
                Errno::NOENT => BundleError::MissingFile { path: path.clone() },
                // A link, a file in place of a directory, or a socket.
                Errno::LOOP | Errno::NOTDIR | Errno::NXIO => BundleError::NotRegular { path: path.clone() },
                other => BundleError::io(&path, "cannot be opened")(other.into()),
            })?);
        }
        let opened = File::from(inner.ok_or_else(|| BundleError::MissingFile { path: path.clone() })?);
        let is_file = opened.metadata().map_err(BundleError::io(&path, "cannot be read"))?.is_file();
        if is_file { Ok(opened) } else { Err(BundleError::NotRegular { path }) }
    }
}

/// Reads a file, but at most one byte more than `limit`.
fn read_at_most(path: &Path, opened: &File, limit: u64) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::new();
    opened.take(limit + 1).read_to_end(&mut bytes).map_err(BundleError::io(path, "cannot be read"))?;
    Ok(bytes)
}

fn compare_sizes(path: &Path, size: u64, expected: &FileDigest) -> Result<(), BundleError> {
    if size == expected.size_bytes {
        return Ok(());
    }
    Err(BundleError::Digest {
        path: path.to_owned(),
        what: "size",
        found: format!("{size} bytes"),
        expected: format!("{} bytes", expected.size_bytes),
    })
}
