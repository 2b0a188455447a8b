//! Opens a bundle. The digest of every file is checked before the file is used. Graphs may be large, so their digests are checked
//! only when the graphs are read.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::digest::{hex, sha256_hex};
use super::error::BundleError;
use super::goldens::GoldenTensors;
use super::manifest::{FileDigest, Manifest, SCHEMA_VERSION, file};
use super::quantiles::QuantileFile;

/// An open bundle. The sizes of all files, and the digests of all files except the graphs, were checked against the manifest.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: PathBuf,
    manifest: Manifest,
    manifest_json: String,
    digest: String,
}

impl Bundle {
    /// Opens the bundle in `dir`: reads the manifest and checks size and digest of every file that the manifest names. For graphs
    /// only the size is checked; see [`Bundle::verify`]. Files that the manifest does not name are ignored.
    ///
    /// # Errors
    /// Every [`BundleError`] except those of a replay.
    pub fn open(dir: &Path) -> Result<Self, BundleError> {
        if !dir.is_dir() {
            return Err(BundleError::Missing { dir: dir.to_owned() });
        }
        let path = dir.join(file::MANIFEST);
        let json = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => BundleError::NoManifest { dir: dir.to_owned() },
            ErrorKind::InvalidData => {
                BundleError::Manifest { path: path.clone(), reason: "it is not UTF-8".to_owned() }
            }
            _ => BundleError::io(&path, "cannot be read")(e),
        })?;
        let mut manifest = parse(&path, &json)?;
        check_consistency(&path, &manifest)?;
        for (name, digest) in &manifest.files {
            let path = dir.join(name);
            if file::GRAPHS.contains(&name.as_str()) { check_size(&path, digest)? } else { check_file(&path, digest)? }
        }
        if manifest.files.contains_key(file::QUANTILES) {
            let quantile_path = dir.join(file::QUANTILES);
            let bytes = std::fs::read(&quantile_path).map_err(BundleError::io(&quantile_path, "cannot be read"))?;
            let inconsistent = |reason| BundleError::Inconsistent { path: quantile_path.clone(), reason };
            QuantileFile::parse(&quantile_path, &bytes)?.put_into(&mut manifest).map_err(inconsistent)?;
            check_quantiles(&quantile_path, &manifest)?;
        }
        let digest = sha256_hex(json.as_bytes());
        Ok(Self { dir: dir.to_owned(), manifest, manifest_json: json, digest })
    }

    /// Reads every graph and checks its digest.
    ///
    /// # Errors
    /// [`BundleError::MissingFile`], [`BundleError::Digest`], [`BundleError::Io`].
    pub fn verify(&self) -> Result<(), BundleError> {
        let mut digests = file::GRAPHS.iter().filter_map(|name| Some((name, self.manifest.files.get(*name)?)));
        digests.try_for_each(|(name, digest)| check_file(&self.dir.join(name), digest))
    }

    /// The directory of the bundle.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The parsed manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The text of `manifest.json`, byte for byte.
    pub fn manifest_json(&self) -> &str {
        &self.manifest_json
    }

    /// The model digest: the SHA-256 of the manifest, which contains the digests of all other files.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The encoder digest: a digest of everything that an image embedding depends on, which is the image encoder's file and the input
    /// rule. Bundles with the same encoder digest can score each other's embeddings.
    pub fn encoder_digest(&self) -> String {
        let encoder = self.manifest.files.get(file::IMAGE_ENCODER).map_or("", |f| f.sha256.as_str());
        let rule = serde_json::to_string(&self.manifest.image_input).unwrap_or_default();
        sha256_hex(format!("{encoder}\n{rule}").as_bytes())
    }

    /// Reads a file that the manifest names and checks its size and digest.
    ///
    /// # Errors
    /// [`BundleError::MissingFile`], [`BundleError::Digest`], [`BundleError::Io`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>, BundleError> {
        let path = self.dir.join(name);
        let expected = self.manifest.files.get(name).ok_or_else(|| BundleError::MissingFile { path: path.clone() })?;
        let bytes = std::fs::read(&path).map_err(BundleError::io(&path, "cannot be read"))?;
        compare(&path, expected, bytes.len() as u64, &sha256_hex(&bytes))?;
        Ok(bytes)
    }

    /// Reads the goldens' tensors and checks their shapes against the manifest.
    ///
    /// # Errors
    /// [`BundleError::Goldens`] and those of [`Bundle::read`].
    pub fn golden_tensors(&self) -> Result<GoldenTensors, BundleError> {
        let goldens = &self.manifest.goldens;
        let fail = |reason| BundleError::Goldens { path: self.dir.join(&goldens.tensors), reason };
        let tensors = GoldenTensors::from_bytes(&self.read(&goldens.tensors)?).map_err(fail)?;
        let architecture = &self.manifest.architecture;
        let dims = [architecture.embedding_dim, architecture.text_dim()];
        tensors.check_shapes(goldens.images.len(), goldens.tags.len(), dims).map_err(fail)?;
        Ok(tensors)
    }
}

fn parse(path: &Path, json: &str) -> Result<Manifest, BundleError> {
    let fail = |reason: String| BundleError::Manifest { path: path.to_owned(), reason };
    // The schema version decides how the other keys are read, so it is checked first.
    let value: serde_json::Value = serde_json::from_str(json).map_err(|e| fail(e.to_string()))?;
    let found = value
        .get("schema_version")
        .and_then(serde_json::Value::as_u64)
        .ok_or_else(|| fail("it has no schema_version".to_owned()))?;
    if found != u64::from(SCHEMA_VERSION) {
        return Err(BundleError::SchemaVersion { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    serde_json::from_str(json).map_err(|e| fail(e.to_string()))
}

fn check_consistency(path: &Path, manifest: &Manifest) -> Result<(), BundleError> {
    let fail = |reason: String| Err(BundleError::Inconsistent { path: path.to_owned(), reason });
    if let Some(problem) = manifest.image_input.problem() {
        return fail(problem);
    }
    if let Some(name) = manifest.files.keys().find(|name| !is_inside(name)) {
        return fail(format!("the file name {name:?} points outside the bundle"));
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let named = [manifest.goldens.tensors.as_str()];
    let images = manifest.goldens.images.iter().map(String::as_str);
    if let Some(name) = file::REQUIRED.into_iter().chain(named).chain(images).find(|n| !manifest.files.contains_key(*n))
    {
        return Err(BundleError::MissingFile { path: dir.join(name) });
    }
    if manifest.goldens.images.is_empty() || manifest.goldens.tags.is_empty() {
        return fail("it has no goldens, so the model cannot be proved".to_owned());
    }
    if !(1..=65536).contains(&manifest.architecture.embedding_dim) {
        return fail(format!("embedding_dim is {}; it must be 1 to 65536", manifest.architecture.embedding_dim));
    }
    let (dim, text_dim) = (manifest.architecture.embedding_dim, manifest.architecture.text_dim());
    if !(1..=dim).contains(&text_dim) {
        return fail(format!("text_embedding_dim is {text_dim}; it must be 1 to embedding_dim ({dim})"));
    }
    let tolerance = manifest.goldens.tolerance;
    if [tolerance.embedding, tolerance.score, tolerance.similarity].iter().any(|t| !(*t > 0.0 && t.is_finite())) {
        return fail("the goldens' tolerances must be greater than zero and finite".to_owned());
    }
    let scale = &manifest.score_scale;
    if !(scale.min.is_finite() && scale.max.is_finite() && scale.min < scale.max) {
        return fail(format!("score_scale goes from {} to {}; max must be above min", scale.min, scale.max));
    }
    check_quantiles(path, manifest)
}

/// Checks the quantiles, which come from the file at `path`.
fn check_quantiles(path: &Path, manifest: &Manifest) -> Result<(), BundleError> {
    let curves = manifest.tags.iter().map(|t| (t.text.as_str(), &t.quantiles));
    let others = [("the whole model", &manifest.quantiles), ("short tags", &manifest.short_tag_quantiles)];
    for (owner, quantiles) in curves.chain(others) {
        if quantiles.iter().any(|q| !q.is_finite()) || !quantiles.is_sorted() {
            let reason = format!("the calibration quantiles of {owner:?} are not all finite and ascending");
            return Err(BundleError::Inconsistent { path: path.to_owned(), reason });
        }
    }
    Ok(())
}

/// Whether a relative file name stays inside the bundle.
fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
}

fn open(path: &Path) -> Result<File, BundleError> {
    File::open(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => BundleError::MissingFile { path: path.to_owned() },
        _ => BundleError::io(path, "cannot be opened")(e),
    })
}

fn check_size(path: &Path, expected: &FileDigest) -> Result<(), BundleError> {
    let size = open(path)?.metadata().map_err(BundleError::io(path, "cannot be read"))?.len();
    compare(path, expected, size, &expected.sha256)
}

fn check_file(path: &Path, expected: &FileDigest) -> Result<(), BundleError> {
    let mut file = open(path)?;
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    let mut buffer = vec![0_u8; 1 << 18];
    loop {
        let count = file.read(&mut buffer).map_err(BundleError::io(path, "cannot be read"))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    compare(path, expected, size, &hex(&hasher.finalize()))
}

fn compare(path: &Path, expected: &FileDigest, size: u64, sha256: &str) -> Result<(), BundleError> {
    let refuse = |what, found, expected| Err(BundleError::Digest { path: path.to_owned(), what, found, expected });
    if size != expected.size_bytes {
        return refuse("size", format!("{size} bytes"), format!("{} bytes", expected.size_bytes));
    }
    if !sha256.eq_ignore_ascii_case(&expected.sha256) {
        return refuse("sha256", sha256.to_owned(), expected.sha256.clone());
    }
    Ok(())
}
