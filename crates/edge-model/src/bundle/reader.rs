//! Opens a bundle. Each file is read once, and the bytes whose digest was checked are those that are used. Graphs may be large, so they are read
//! only when they are needed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::digest::sha256_hex;
use super::error::BundleError;
use super::files::{BundleDir, is_inside, max_bytes};
use super::goldens::GoldenTensors;
use super::manifest::{MAX_TOLERANCE, MIN_GOLDENS, Manifest, SCHEMA_VERSION, file};
use super::quantiles::QuantileFile;

/// Number of times that a bundle may be replaced while it is opened.
const REPLACED: usize = 100;

/// The bytes of files, by their names in the manifest.
type Files = BTreeMap<String, Arc<[u8]>>;

/// An open bundle. The sizes of all files, and the digests of all files except the graphs, were checked against the manifest.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: Arc<BundleDir>,
    /// The bytes of the tokenizer and the goldens.
    read: Files,
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
        for _ in 0..REPLACED {
            let opened = BundleDir::open(dir)?;
            match Self::read_all(&opened) {
                // The files of a bundle disappear soon after another one has taken its place.
                Err(_) if opened.was_replaced() => {}
                read => {
                    return read.map(|(read, manifest, manifest_json)| {
                        let digest = sha256_hex(manifest_json.as_bytes());
                        Self { dir: Arc::new(opened), read, manifest, manifest_json, digest }
                    });
                }
            }
        }
        Err(BundleError::Missing { dir: dir.to_owned() })
    }

    /// Reads and checks everything but the graphs: the files that are used, the manifest, and its text.
    fn read_all(dir: &BundleDir) -> Result<(Files, Manifest, String), BundleError> {
        let json = dir.read_manifest()?;
        let path = dir.path().join(file::MANIFEST);
        let mut manifest = parse(&path, &json)?;
        check_consistency(&path, &manifest)?;
        let mut read = BTreeMap::new();
        for (name, digest) in &manifest.files {
            if file::GRAPHS.contains(&name.as_str()) {
                dir.check_size(name, digest)?;
            } else {
                let bytes = dir.read(name, digest)?;
                let is_used = name == file::TOKENIZER || name == file::QUANTILES || manifest.goldens.names(name);
                is_used.then(|| read.insert(name.clone(), Arc::from(bytes)));
            }
        }
        if let Some(bytes) = read.remove(file::QUANTILES) {
            let path = dir.path().join(file::QUANTILES);
            let inconsistent = |reason| BundleError::Inconsistent { path: path.clone(), reason };
            QuantileFile::parse(&path, &bytes)?.put_into(&mut manifest).map_err(inconsistent)?;
            check_quantiles(&path, &manifest)?;
        }
        Ok((read, manifest, json))
    }

    /// Reads every graph and checks its digest.
    ///
    /// # Errors
    /// The same as [`Bundle::read`].
    pub fn verify(&self) -> Result<(), BundleError> {
        let mut graphs = file::GRAPHS.iter().filter(|name| self.manifest.files.contains_key(**name));
        graphs.try_for_each(|name| self.read(name).map(drop))
    }

    /// The directory of the bundle.
    pub fn dir(&self) -> &Path {
        self.dir.path()
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

    /// Returns the bytes of a file that the manifest names. Their size and digest are those in the manifest.
    ///
    /// # Errors
    /// [`BundleError::MissingFile`], [`BundleError::NotRegular`], [`BundleError::Digest`], [`BundleError::Io`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>, BundleError> {
        if let Some(bytes) = self.read.get(name) {
            return Ok(bytes.to_vec());
        }
        let missing = || BundleError::MissingFile { path: self.dir().join(name) };
        let digest = self.manifest.files.get(name).ok_or_else(missing)?;
        self.dir.read(name, digest)
    }

    /// Reads the goldens' tensors and checks their shapes against the manifest.
    ///
    /// # Errors
    /// [`BundleError::Goldens`] and those of [`Bundle::read`].
    pub fn golden_tensors(&self) -> Result<GoldenTensors, BundleError> {
        let goldens = &self.manifest.goldens;
        let fail = |reason| BundleError::Goldens { path: self.dir().join(&goldens.tensors), reason };
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
    if let Some((name, digest)) = manifest.files.iter().find(|(name, digest)| digest.size_bytes > max_bytes(name)) {
        let (size, limit) = (digest.size_bytes, max_bytes(name) >> 20);
        return fail(format!("the file {name:?} has {size} bytes; at most {limit} MiB are allowed"));
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
    let goldens = manifest.goldens.images.len() * manifest.goldens.tags.len();
    if goldens < MIN_GOLDENS {
        return fail(format!(
            "it has {goldens} pairs of a golden image and a golden tag; at least {MIN_GOLDENS} are needed"
        ));
    }
    let scale = &manifest.score_scale;
    if !(scale.min.is_finite() && scale.max.is_finite() && scale.min < scale.max) {
        return fail(format!("score_scale goes from {} to {}; max must be above min", scale.min, scale.max));
    }
    // Divided, because a hundredth is not exact: the limit of a scale of 5 is 0.05.
    let score = (scale.max - scale.min) / (1.0 / MAX_TOLERANCE.score);
    let limits = [("embedding", tolerance.embedding, MAX_TOLERANCE.embedding), ("score", tolerance.score, score)];
    let similarity = ("similarity", tolerance.similarity, MAX_TOLERANCE.similarity);
    if let Some((what, stated, limit)) =
        limits.into_iter().chain([similarity]).find(|(_, stated, limit)| stated > limit)
    {
        return fail(format!(
            "the goldens' tolerance of the {what} is {stated}; above {limit} they would prove nothing"
        ));
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
