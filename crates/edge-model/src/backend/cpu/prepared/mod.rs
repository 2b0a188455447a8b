//! The cache of prepared graphs. A file holds a rewritten graph and its packed constants. A start reads each byte once: the bytes whose digest
//! was checked are those that are used. They are not mapped from the file, because a file that is cut off, or a card that fails, would end
//! the process with a bus error.
//!
//! ```text
//! MAGIC, parts (each at a multiple of 64 bytes), index (JSON), its length (8 bytes), BLAKE3 of the purpose and of everything before (32 bytes)
//! ```
//!
//! Numbers are in the processor's byte order. The purpose is the format, the original graph's digest, the program's version and the kernels. The
//! file's name is a digest of it, and a file for another purpose is refused under any name.
//!
//! A person who can write into the directory can change the scores. Only this user may write into it.

mod parts;

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytemuck::Pod;
use memmap2::MmapMut;
use prost::Message;
use rustix::fs::OFlags;
use rustix::process::geteuid;
use tract_onnx::pb::ModelProto;

use super::constants::{Constants, LookupTable};
use super::product::ProductKernels;
use super::storage::Storage;
use parts::{ConvParts, PartIndex, ProductParts, read_parts};

/// First bytes of a cached file. The number is raised when the format of the file or the operators of rewritten graphs change.
const MAGIC: &[u8; 32] = b"edge-scorer prepared graph 7\n\0\0\0";
const ALIGNMENT: u64 = 64;
const EXTENSION: &str = "prepared";
/// Fewest bytes of constants of a graph that is cached. Preparing a smaller graph takes no longer than reading it from the cache.
/// The limit is lower in tests, so that the shipped model's graphs are cached.
const MIN_CACHED_BYTES: usize = if cfg!(test) { 1 << 16 } else { 8 << 20 };
/// A cached file that has not been used for this time is deleted.
const MAX_AGE: Duration = Duration::from_secs(90 * 24 * 3600);

/// A rewritten graph and its constants.
pub(super) struct PreparedGraph {
    pub(super) graph: ModelProto,
    pub(super) constants: Constants,
}

/// A cached file: its path, and what it is for.
pub(super) struct CachedFile {
    path: PathBuf,
    purpose: Vec<u8>,
}

impl CachedFile {
    /// The file in `dir` for the graph with that digest and these kernels.
    pub(super) fn of(dir: &Path, digest: &str, kernels: &ProductKernels) -> Self {
        let mut purpose = MAGIC.to_vec();
        purpose.extend(format!("{digest}\n{}\n{}", env!("CARGO_PKG_VERSION"), kernels.names()).into_bytes());
        let name = blake3::hash(&purpose).to_hex();
        Self { path: dir.join(format!("{}.{EXTENSION}", &name[..32])), purpose }
    }

    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Reads the file; `None` if it is missing, damaged or someone else's.
    pub(super) fn read(&self) -> Option<PreparedGraph> {
        match self.open() {
            Ok(prepared) => Some(prepared),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                log::warn!(
                    "{}: the prepared graph in the cache cannot be used ({error}); the graph is prepared again",
                    self.path.display()
                );
                None
            }
        }
    }

    fn open(&self) -> io::Result<PreparedGraph> {
        require_own(&std::fs::symlink_metadata(self.dir())?)?;
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut file = File::options().read(true).custom_flags(flags).open(&self.path)?;
        let metadata = file.metadata()?;
        require_own(&metadata)?;
        let damaged = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let size = usize::try_from(metadata.len()).ok().filter(|size| *size > 32 && metadata.is_file());
        let size = size.ok_or_else(|| damaged("the file is too short"))?;
        // `map_anon` aligns the memory to pages. The parts need an alignment of 64 bytes.
        let mut bytes = MmapMut::map_anon(size)?;
        file.read_exact(&mut bytes)?;
        let bytes = Arc::new(bytes.make_read_only()?);
        let (content, digest) = bytes.split_at(size - 32);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.purpose).update(content);
        if hasher.finalize().as_bytes() != digest {
            return Err(damaged("the digest does not match"));
        }
        let hashed = content.len() as u64;
        let prepared = read_parts(&bytes, hashed).ok_or_else(|| damaged("the index does not match the parts"))?;
        // The modification time records the last use, for `remove_old`. The file can be used even if this fails.
        let _ = file.set_modified(SystemTime::now());
        Ok(prepared)
    }
}

/// Fails if someone else owns a file or directory, or may write into it.
fn require_own(metadata: &std::fs::Metadata) -> io::Result<()> {
    let refuse = |what| Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    if metadata.is_symlink() {
        return refuse("it is a link");
    }
    if metadata.uid() != geteuid().as_raw() {
        return refuse("another user owns it");
    }
    if metadata.mode() & 0o022 != 0 {
        return refuse("other users may write into it");
    }
    Ok(())
}

/// Creates the directory, for this user alone, or takes the rights of others from it.
fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let metadata = std::fs::symlink_metadata(dir)?;
    if metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    require_own(&std::fs::symlink_metadata(dir)?)
}

/// Writes a graph with large constants to the cache, in place of one that was there.
pub(super) fn cache(file: &CachedFile, prepared: &PreparedGraph) {
    let constants = &prepared.constants;
    let weight_bytes: usize = constants.weights.iter().map(|weights| weights.parts().panels.bytes().len()).sum();
    let table_bytes: usize = constants.tables.iter().map(|table| table.values.bytes().len()).sum();
    if weight_bytes + table_bytes < MIN_CACHED_BYTES {
        return;
    }
    if let Err(error) = write(file, prepared) {
        log::info!(
            "{}: the prepared graph cannot be cached: {error}. Make the cache directory writable for this user alone, or free disk space. \
             Otherwise the next start takes as long as this one",
            file.path.display()
        );
    }
}

fn write(file: &CachedFile, prepared: &PreparedGraph) -> io::Result<()> {
    let dir = file.dir();
    make_private(dir)?;
    remove_old(dir);
    let unfinished = tempfile::Builder::new().suffix(&format!(".{EXTENSION}")).tempfile_in(dir)?;
    let writer = BufWriter::with_capacity(1 << 20, &unfinished);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&file.purpose);
    let mut out = PartWriter { writer, hasher, position: 0 };
    out.bytes(MAGIC)?;
    let graph = out.part(&prepared.graph.encode_to_vec())?;
    let mut products = Vec::with_capacity(prepared.constants.weights.len());
    for weights in &prepared.constants.weights {
        let parts = weights.parts();
        products.push(ProductParts {
            inner: parts.inner,
            outer: parts.outer,
            kernel: parts.kernel.clone(),
            quick_gelu: parts.quick_gelu.map(f32::to_bits),
            panels: out.array(parts.panels)?,
            bias: out.array(parts.bias)?,
            column_scale: out.array(parts.column_scale)?,
            start: out.array(parts.start)?,
        });
    }
    let table = |table: &Arc<LookupTable>| Ok((table.width, out.array(&table.values)?));
    let tables = prepared.constants.tables.iter().map(table).collect::<io::Result<_>>()?;
    let mut conv = |windows, limits: [f32; 2], values: &Storage<f32>| {
        Ok(ConvParts { windows, limits: limits.map(f32::to_bits), values: out.array(values)? })
    };
    let filters = prepared.constants.filters.iter().map(|c| conv(c.windows(), c.limits(), c.values()));
    let filters = filters.collect::<io::Result<_>>()?;
    let depthwise = prepared.constants.depthwise.iter().map(|c| conv(c.windows(), c.limits(), c.values()));
    let depthwise = depthwise.collect::<io::Result<_>>()?;
    let index = serde_json::to_vec(&PartIndex { graph, products, tables, filters, depthwise })?;
    out.bytes(&index)?;
    out.bytes(&(index.len() as u64).to_ne_bytes())?;
    let digest = out.hasher.finalize();
    out.writer.write_all(digest.as_bytes())?;
    out.writer.flush()?;
    drop(out);
    unfinished.persist(&file.path)?;
    Ok(())
}

/// Writes the parts of a file and hashes them.
struct PartWriter<'a> {
    writer: BufWriter<&'a tempfile::NamedTempFile>,
    hasher: blake3::Hasher,
    /// Position of the next part in the file: the number of bytes written so far.
    position: u64,
}

impl PartWriter<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.position += bytes.len() as u64;
        self.writer.write_all(bytes)
    }

    /// Writes a part at the next multiple of [`ALIGNMENT`] and returns its position.
    fn part(&mut self, bytes: &[u8]) -> io::Result<Range<u64>> {
        let padding = self.position.next_multiple_of(ALIGNMENT) - self.position;
        self.bytes(&[0; ALIGNMENT as usize][..padding as usize])?;
        let start = self.position;
        self.bytes(bytes)?;
        Ok(start..self.position)
    }

    fn array<T: Pod>(&mut self, array: &Storage<T>) -> io::Result<Range<u64>> {
        self.part(array.bytes())
    }
}

/// Deletes files that have not been used for [`MAX_AGE`]: those of replaced models, and those that an interrupted start left unfinished.
fn remove_old(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.path().extension().is_some_and(|extension| extension == EXTENSION);
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|time| time.elapsed().ok());
        if is_ours && age.is_some_and(|age| age > MAX_AGE) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::GraphProto;

    use super::super::convolution::ConvFilters;
    use super::super::depthwise::DepthwiseFilters;
    use super::super::product::PackedWeights;
    use super::super::windows::ConvWindows;
    use super::*;
    use crate::backend::precision::Precision;

    fn made(kernels: &ProductKernels) -> PreparedGraph {
        let matrix: Vec<f32> = (0..1030 * 2100).map(|i| (i % 1013) as f32 / 500.0 - 1.0).collect();
        let bias: Vec<f32> = (0..2100).map(|i| i as f32).collect();
        let weights =
            PackedWeights::pack(&matrix, 2100, Some(&bias), kernels.for_weights(matrix.len() / 2100, 2100)).unwrap();
        let table = LookupTable { width: 100, values: matrix[..100_000].to_vec().into() };
        let windows = ConvWindows { channels: 2, size: [3, 3], stride: [1, 2], before: [0; 2], after: [1, 0] };
        let filters = ConvFilters::new(matrix[..19 * 20].to_vec().into(), windows, [f32::NEG_INFINITY, 6.0]).unwrap();
        let graph = GraphProto { name: "a graph".to_owned(), ..GraphProto::default() };
        let graph = ModelProto { graph: Some(graph), ..ModelProto::default() };
        let weights = vec![Arc::new(weights.with_quick_gelu(Some(1.702)))];
        let windows = ConvWindows { channels: 4, size: [3, 5], stride: [2, 1], before: [1, 2], after: [0, 1] };
        let depthwise = DepthwiseFilters::new(matrix[..64].to_vec().into(), windows, [0.0, f32::INFINITY]).unwrap();
        let constants = Constants {
            weights,
            tables: vec![Arc::new(table)],
            filters: vec![Arc::new(filters)],
            depthwise: vec![Arc::new(depthwise)],
        };
        PreparedGraph { graph, constants }
    }

    fn answer(prepared: &PreparedGraph) -> Vec<f32> {
        let activations: Vec<f32> = (0..7 * 1030).map(|i| (i % 91) as f32 / 45.0 - 1.0).collect();
        let mut out = vec![0.0; 7 * 2100];
        prepared.constants.weights[0].multiply(&activations, 1, &mut out);
        out.extend_from_slice(prepared.constants.tables[0].row(999).unwrap());
        out.extend_from_slice(prepared.constants.filters[0].values());
        let windows = prepared.constants.filters[0].windows();
        assert_eq!((windows.stride, windows.after), ([1, 2], [1, 0]));
        assert_eq!(prepared.constants.filters[0].limits(), [f32::NEG_INFINITY, 6.0]);
        let depthwise = &prepared.constants.depthwise[0];
        out.extend_from_slice(depthwise.values());
        assert_eq!(depthwise.limits(), [0.0, f32::INFINITY]);
        assert_eq!((depthwise.windows().before, depthwise.windows().after), ([1, 2], [0, 1]));
        out
    }

    #[test]
    fn what_is_kept_is_read_as_it_was_and_damage_is_seen() {
        for precision in [Precision::F32, Precision::Int8] {
            let Some(kernels) = ProductKernels::or_skip(precision, "backend::cpu::prepared") else { return };
            let dir = tempfile::tempdir().unwrap();
            let file = CachedFile::of(dir.path(), "a digest", &kernels);
            let path = file.path.clone();
            assert!(file.read().is_none());
            let before = made(&kernels);
            cache(&file, &before);
            let again = file.read().unwrap();
            assert_eq!((&again.graph, answer(&again)), (&before.graph, answer(&before)));
            let whole = std::fs::read(&path).unwrap();
            for at in [0, 31, 40, 5000, whole.len() / 2, whole.len() - 200, whole.len() - 36, whole.len() - 1] {
                let mut damaged = whole.clone();
                damaged[at] ^= 4;
                std::fs::write(&path, damaged).unwrap();
                assert!(file.read().is_none(), "byte {at} of {}", whole.len());
            }
            for length in [0, 31, 64, 1000, whole.len() - 1] {
                std::fs::write(&path, &whole[..length]).unwrap();
                assert!(file.read().is_none(), "cut off at {length}");
            }
        }
    }

    #[test]
    fn files_of_other_digests_and_kernels_have_other_names_and_old_ones_go() {
        let Some(kernels) = ProductKernels::or_skip(Precision::F32, "backend::cpu::prepared") else { return };
        let dir = tempfile::tempdir().unwrap();
        let of = |digest, kernels| CachedFile::of(dir.path(), digest, kernels);
        let (one, second) = (of("one", &kernels).path, of("two", &kernels));
        let two = second.path.clone();
        assert_ne!(one, two);
        if let Some(bytes) =
            ProductKernels::best(Precision::Int8).filter(|kernels| kernels.precision() == Precision::Int8)
        {
            assert_ne!(one, of("one", &bytes).path);
        }
        let foreign = dir.path().join("someone's");
        for path in [&one, &foreign] {
            std::fs::write(path, "x").unwrap();
            let file = File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - MAX_AGE - Duration::from_secs(60)).unwrap();
        }
        cache(&second, &made(&kernels));
        assert!(!one.exists() && two.exists() && foreign.exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "an unfinished file is left");
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_nothing_but_time() {
        let Some(kernels) = ProductKernels::or_skip(Precision::F32, "backend::cpu::prepared") else { return };
        let dir = tempfile::tempdir().unwrap();
        let not_a_dir = dir.path().join("file");
        std::fs::write(&not_a_dir, "x").unwrap();
        cache(&CachedFile::of(&not_a_dir, "one", &kernels), &made(&kernels));
        assert_eq!(std::fs::read(&not_a_dir).unwrap(), b"x");
    }

    #[test]
    fn a_file_for_another_graph_is_refused_under_any_name() {
        let Some(kernels) = ProductKernels::or_skip(Precision::F32, "backend::cpu::prepared") else { return };
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|digest| CachedFile::of(dir.path(), digest, &kernels));
        cache(&one, &made(&kernels));
        std::fs::rename(&one.path, &two.path).unwrap();
        assert!(two.read().is_none());
        std::fs::rename(&two.path, &one.path).unwrap();
        assert!(one.read().is_some());
    }

    #[test]
    fn the_cache_belongs_to_this_user_alone() {
        let Some(kernels) = ProductKernels::or_skip(Precision::F32, "backend::cpu::prepared") else { return };
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("cache");
        let file = CachedFile::of(&dir, "one", &kernels);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        // Rights of others are taken from a directory that is ours.
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
        cache(&file, &made(&kernels));
        assert_eq!((mode(&dir), mode(&file.path)), (0o700, 0o600));
        assert!(file.read().is_some());
        // The cache does not read a file or a directory that others may write into.
        for (path, before) in [(&dir, 0o700), (&file.path, 0o600)] {
            std::fs::set_permissions(path, Permissions::from_mode(before | 0o020)).unwrap();
            assert!(file.read().is_none(), "{}", path.display());
            std::fs::set_permissions(path, Permissions::from_mode(before)).unwrap();
        }
        let elsewhere = parent.path().join("elsewhere");
        std::fs::rename(&file.path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file.path).unwrap();
        assert!(file.read().is_none(), "a link");
        std::fs::rename(&dir, parent.path().join("real")).unwrap();
        std::os::unix::fs::symlink(parent.path().join("real"), &dir).unwrap();
        assert!(make_private(&dir).is_err(), "a link in place of the directory");
    }
}
