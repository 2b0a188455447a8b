//! Reads every image before the training. Counts and names missing, unreadable and duplicate images.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use edge_model::image_input::{self, Limits};
use sha2::{Digest, Sha256};

use super::{DataError, Example};
use crate::parallel;

/// The unusable and repeated images and rows that [`check()`] found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckReport {
    /// Number of distinct paths that were checked.
    pub images: usize,
    /// Images that do not exist.
    pub missing: Vec<PathBuf>,
    /// Images that cannot be read or decoded, each with the reason.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Images with the same bytes as an earlier image, as pairs (copy, earlier image).
    pub duplicates: Vec<(PathBuf, PathBuf)>,
    /// Number of rows that were dropped because an earlier row has the same image, tag and part.
    pub repeated_rows: usize,
}

impl CheckReport {
    /// Returns one sentence for each kind of finding, such as missing images.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        if let Some(first) = self.missing.first() {
            out.push(format!("{} images are missing and skipped, the first: {}", self.missing.len(), first.display()));
        }
        if let Some((first, reason)) = self.unreadable.first() {
            let n = self.unreadable.len();
            out.push(format!("{n} images are unreadable and skipped, the first: {}: {reason}", first.display()));
        }
        if let Some((copy, original)) = self.duplicates.first() {
            let n = self.duplicates.len();
            let (copy, original) = (copy.display(), original.display());
            out.push(format!(
                "{n} images are copies of other images and count once, the first: {copy} equals {original}"
            ));
        }
        if self.repeated_rows > 0 {
            out.push(format!(
                "{} rows are skipped because an earlier row has the same image, tag and part",
                self.repeated_rows
            ));
        }
        out
    }
}

/// Reads every image once, on all processors. Fills in the content ids and drops unusable images and repeated rows.
/// `done` is called after each image.
///
/// # Errors
/// [`DataError::TooManyBad`].
pub fn check(
    examples: Vec<Example>,
    max_bad_fraction: f64,
    limits: &Limits,
    done: impl FnMut(),
) -> Result<(Vec<Example>, CheckReport), DataError> {
    let mut seen = HashSet::new();
    let paths: Vec<&Path> = examples.iter().map(|e| e.path.as_path()).filter(|p| seen.insert(*p)).collect();
    let (ids, mut report) = inspect_all(&paths, limits, done);
    let mut seen_rows = HashSet::new();
    let mut kept = Vec::with_capacity(examples.len());
    for mut example in examples {
        let Some(id) = ids.get(&example.path) else { continue };
        // Keep a repeated row that states another part, so that the division reports a leak.
        if !seen_rows.insert((id.clone(), example.tag.to_lowercase(), example.part)) {
            report.repeated_rows += 1;
            continue;
        }
        example.content_id.clone_from(id);
        kept.push(example);
    }
    refuse_too_many(&report, max_bad_fraction)?;
    Ok((kept, report))
}

/// Returns the content ids of the usable images, and the findings in the order of `paths`.
fn inspect_all(paths: &[&Path], limits: &Limits, done: impl FnMut()) -> (HashMap<PathBuf, String>, CheckReport) {
    let inspected = parallel::map(paths.len(), |i| inspect(paths[i], limits), done);
    let mut report = CheckReport { images: paths.len(), ..CheckReport::default() };
    let mut ids = HashMap::new();
    let mut first_path: HashMap<String, &Path> = HashMap::new();
    for (&path, inspection) in paths.iter().zip(inspected) {
        match inspection {
            Inspection::Missing => report.missing.push(path.to_owned()),
            Inspection::Unreadable(reason) => report.unreadable.push((path.to_owned(), reason)),
            Inspection::Usable(id) => {
                let first = *first_path.entry(id.clone()).or_insert(path);
                if first != path {
                    report.duplicates.push((path.to_owned(), first.to_owned()));
                }
                ids.insert(path.to_owned(), id);
            }
        }
    }
    (ids, report)
}

/// Result of reading and decoding one image file.
#[derive(Debug, Clone)]
enum Inspection {
    Missing,
    /// The file cannot be read or decoded; contains the reason.
    Unreadable(String),
    /// The file is a usable image; contains its content id.
    Usable(String),
}

fn inspect(path: &Path, limits: &Limits) -> Inspection {
    if !path.exists() {
        return Inspection::Missing;
    }
    let read = image_input::read_file(path, limits);
    match read.and_then(|bytes| image_input::decode(&bytes, limits).map(|_| bytes)) {
        Ok(bytes) => Inspection::Usable(blake3::hash(&bytes).to_hex().to_string()),
        Err(e) => Inspection::Unreadable(e.to_string()),
    }
}

fn refuse_too_many(report: &CheckReport, allowed: f64) -> Result<(), DataError> {
    let bad = report.missing.len() + report.unreadable.len();
    if bad as f64 <= allowed * report.images as f64 {
        return Ok(());
    }
    let missing = report.missing.first().map(|p| format!("{} is missing", p.display()));
    let unreadable = report.unreadable.first().map(|(p, reason)| format!("{}: {reason}", p.display()));
    let example = missing.or(unreadable).unwrap_or_default();
    Err(DataError::TooManyBad { bad, all: report.images, allowed, example })
}

/// Returns the SHA-256 over the sorted (content id, tag, score) rows. The same data have the same digest in any
/// directory.
pub fn digest(examples: &[Example]) -> String {
    let mut rows: Vec<String> =
        examples.iter().map(|e| format!("{}\t{}\t{}\n", e.content_id, e.tag, e.score)).collect();
    rows.sort_unstable();
    let mut hash = Sha256::new();
    rows.iter().for_each(|row| hash.update(row.as_bytes()));
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    fn example(path: PathBuf, tag: &str) -> Example {
        Example {
            path,
            tag: tag.to_owned(),
            score: 1.0,
            alignment: None,
            part: None,
            group: tag.to_owned(),
            source: String::new(),
            condition: None,
            content_id: String::new(),
        }
    }

    #[test]
    fn missing_unreadable_and_duplicate_images_are_counted_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        RgbImage::from_pixel(8, 8, Rgb([9, 9, 9])).save(at("a.png")).unwrap();
        std::fs::copy(at("a.png"), at("copy.png")).unwrap();
        std::fs::write(at("broken.png"), b"no image").unwrap();
        let rows = || ["a.png", "copy.png", "broken.png", "gone.png", "a.png"].map(|n| example(at(n), "x")).to_vec();
        let mut steps = 0;
        let (kept, report) = check(rows(), 0.5, &Limits::default(), || steps += 1).unwrap();
        assert_eq!((kept.len(), steps, report.images), (1, 4, 4));
        assert_eq!(report.missing, [at("gone.png")]);
        assert_eq!(report.unreadable[0].0, at("broken.png"));
        assert_eq!(report.duplicates, [(at("copy.png"), at("a.png"))]);
        assert_eq!((report.repeated_rows, report.warnings().len()), (2, 4));
        let error = check(rows(), 0.01, &Limits::default(), || ()).unwrap_err().to_string();
        assert!(error.contains("2 of 4 images") && error.contains("gone.png is missing"), "{error}");
    }

    #[test]
    fn the_digest_ignores_order_and_place() {
        let mut a = example("x/a.png".into(), "t");
        a.content_id = "1".to_owned();
        let mut b = example("y/b.png".into(), "t");
        b.content_id = "2".to_owned();
        let moved = Example { path: "z/a.png".into(), ..a.clone() };
        assert_eq!(digest(&[a, b.clone()]), digest(&[b, moved]));
    }
}
