//! Keeps a data set from naming images outside its own directory. A table from a stranger could otherwise carry private pictures of the
//! reader into a report, a gallery or a data set that is passed on.

use std::collections::HashSet;
use std::path::{Component, Path};

use super::DataError;

/// Checks that every image lies below `root`, after symbolic links are followed. An image that does not exist is judged by its path alone.
/// `table` names the images.
///
/// # Errors
/// [`DataError::Outside`], which names the first image outside.
pub(super) fn require<'a>(root: &Path, table: &Path, images: impl Iterator<Item = &'a Path>) -> Result<(), DataError> {
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let real_root = root.canonicalize().map_err(DataError::missing(root))?;
    let mut seen = HashSet::new();
    for image in images.filter(|image| seen.insert(*image)) {
        let is_inside = match image.canonicalize() {
            Ok(real) => real.starts_with(&real_root),
            Err(_) => stays_below(root, image),
        };
        if !is_inside {
            let (table, image, root) = (table.to_owned(), image.to_owned(), real_root);
            return Err(DataError::Outside { table, image, root });
        }
    }
    Ok(())
}

/// Returns whether a path begins with `root` and never climbs above it.
fn stays_below(root: &Path, path: &Path) -> bool {
    let root = root.strip_prefix(".").unwrap_or(root);
    let Ok(below) = path.strip_prefix(".").unwrap_or(path).strip_prefix(root) else { return false };
    let mut depth = 0usize;
    below.components().all(|component| match component {
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::CurDir => true,
        Component::ParentDir if depth > 0 => {
            depth -= 1;
            true
        }
        Component::ParentDir | Component::RootDir | Component::Prefix(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_outside_are_refused_whatever_way_they_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (root, private) = (dir.path().join("data"), dir.path().join("private.png"));
        std::fs::create_dir_all(root.join("images")).unwrap();
        std::fs::write(&private, b"x").unwrap();
        std::fs::write(root.join("images/a.png"), b"x").unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("up")).unwrap();
        std::os::unix::fs::symlink(&private, root.join("images/link.png")).unwrap();
        std::os::unix::fs::symlink(root.join("images"), root.join("pictures")).unwrap();
        let table = root.join("table.csv");
        let verdict = |image: &str| require(&root, &table, std::iter::once(root.join(image).as_path()));
        for inside in ["images/a.png", "pictures/a.png", "images/../images/a.png", "images/gone.png"] {
            assert!(verdict(inside).is_ok(), "{inside}");
        }
        let absolute = private.to_str().unwrap();
        for outside in [
            "../private.png",
            absolute,
            "up/private.png",
            "images/link.png",
            "../gone.png",
            "/gone/b.png",
            "images/../../c",
        ] {
            let error = verdict(outside).unwrap_err().to_string();
            assert!(error.contains("--allow-outside") && error.contains("table.csv"), "{outside}: {error}");
        }
    }

    #[test]
    fn relative_roots_are_understood() {
        for (root, path, expected) in [
            ("", "a.png", true),
            (".", "./a/b.png", true),
            ("./data", "data/a.png", true),
            ("data", "database/a.png", false),
            ("data", "data/../a.png", false),
            ("", "/etc/a.png", false),
        ] {
            assert_eq!(stays_below(Path::new(root), Path::new(path)), expected, "{root} {path}");
        }
    }
}
