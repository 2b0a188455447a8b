//! Decides from a file's name whether it is a finished image. It never reads the disk.
//!
//! A finished image has an image's extension and is not hidden. Unfinished files (`.part`, `.tmp`, `.crdownload`, an editor's `~`)
//! have another last extension and become candidates when they are renamed. Hidden files and directories are excluded, because
//! they hold thumbnails, deleted files and the temporary files of copying programs. A watched directory itself may be hidden.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use edge_model::image_input::EXTENSIONS;

/// Returns whether a component of `path` below `root` starts with a dot. Also true if `path` does not lie in `root`.
pub(super) fn is_hidden_below(root: &Path, path: &Path) -> bool {
    let Ok(relative) = path.strip_prefix(root) else { return true };
    relative.components().any(|part| match part {
        Component::Normal(name) => is_hidden(name),
        _ => true,
    })
}

/// Returns whether a name starts with a dot.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'.')
}

/// Returns whether the last extension is that of an image, in upper or lower case.
pub(super) fn has_image_extension(path: &Path) -> bool {
    let Some(extension) = path.extension() else { return false };
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_candidate(root: &Path, path: &Path) -> bool {
        has_image_extension(path) && !is_hidden_below(root, path)
    }

    fn candidate(path: &str) -> bool {
        is_candidate(Path::new("/cam"), Path::new(path))
    }

    #[test]
    fn images_of_any_case_are_candidates() {
        for name in
            ["a.jpg", "a.JPG", "a.JpEg", "a.jpe", "a.jfif", "a.png", "a.webp", "x/y/a b.jpg", "a.tmp.jpg", "~.png"]
        {
            assert!(candidate(&format!("/cam/{name}")), "{name}");
        }
        assert!(is_candidate(Path::new("/cam"), Path::new(OsStr::from_bytes(b"/cam/\xff\n.jpg"))));
        assert!(is_candidate(Path::new("/home/x/.hidden"), Path::new("/home/x/.hidden/a.jpg")));
    }

    #[test]
    fn unfinished_hidden_and_outside_files_are_not_candidates() {
        for name in [
            "a.jpg.part",
            "a.jpg.tmp",
            "a.jpg.crdownload",
            "a.jpg~",
            "#a.jpg#",
            ".a.jpg",
            ".a.jpg.Xq3k2",
            "._a.jpg",
            "a.gif",
            "jpg",
            ".jpg",
            "a.jpg.swp",
            ".thumbnails/a.jpg",
            ".Trash-1000/files/a.jpg",
            "x/../../etc/a.jpg",
        ] {
            assert!(!candidate(&format!("/cam/{name}")), "{name}");
        }
        assert!(!candidate("/camera/a.jpg"));
    }
}
