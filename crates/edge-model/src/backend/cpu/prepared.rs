//! The cache of prepared graphs. A file holds a rewritten graph and its packed constants, and is mapped into memory. A start reads each
//! byte once, for the digest, and then uses memory only for the parts that it needs.
//!
//! ```text
//! MAGIC, parts (each at a multiple of 64 bytes), index (JSON), its length (8 bytes), BLAKE3 of everything before (32 bytes)
//! ```
//!
//! Numbers are in the processor's byte order. The file's name is a digest of the format, the original graph's digest, the program's version
//! and the kernels.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytemuck::Pod;
use memmap2::Mmap;
use prost::Message;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::ModelProto;

use super::constants::{Constants, LookupTable};
use super::convolution::{ConvFilters, ConvWindows};
use super::depthwise::{DepthwiseFilters, DepthwiseWindows};
use super::product::{PackedWeights, ProductKernels, WeightParts};
use super::storage::Storage;

/// First bytes of a cached file. The number is raised when the format of the file or the operators of rewritten graphs change.
const MAGIC: &[u8; 32] = b"edge-scorer prepared graph 5\n\0\0\0";
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

/// The positions of the parts in a file.
#[derive(Serialize, Deserialize)]
struct PartIndex {
    graph: Range<u64>,
    products: Vec<ProductParts>,
    /// Width of each table, and the position of its values in the file.
    tables: Vec<(usize, Range<u64>)>,
    filters: Vec<ConvParts>,
    depthwise: Vec<DepthwiseParts>,
}

/// The parts that all convolutions have.
#[derive(Serialize, Deserialize)]
struct ConvParts {
    channels: usize,
    size: [usize; 2],
    stride: [usize; 2],
    /// The limits of the results, each an f32, as integers of the same bits. JSON has no infinity.
    limits: [u32; 2],
    values: Range<u64>,
}

/// The parts of a [`DepthwiseFilters`].
#[derive(Serialize, Deserialize)]
struct DepthwiseParts {
    conv: ConvParts,
    before: [usize; 2],
    after: [usize; 2],
}

/// The parts of a [`PackedWeights`]; see [`WeightParts`].
#[derive(Serialize, Deserialize)]
struct ProductParts {
    inner: usize,
    outer: usize,
    kernel: String,
    /// Factor of the activation function, an f32, as an integer of the same bits. JSON stores an integer exactly.
    quick_gelu: Option<u32>,
    panels: Range<u64>,
    bias: Range<u64>,
    column_scale: Range<u64>,
    start: Range<u64>,
}

/// Returns the path of the cached file for the graph with that digest and these kernels.
pub(super) fn path(dir: &Path, digest: &str, kernels: &ProductKernels) -> PathBuf {
    let mut made_for = MAGIC.to_vec();
    made_for.extend(format!("{digest}\n{}\n{}", env!("CARGO_PKG_VERSION"), kernels.names()).into_bytes());
    let name = blake3::hash(&made_for).to_hex();
    dir.join(format!("{}.{EXTENSION}", &name[..32]))
}

/// Opens a cached file; `None` if it is missing or damaged.
pub(super) fn read(path: &Path) -> Option<PreparedGraph> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            log::warn!(
                "{}: the prepared graph in the cache cannot be opened ({error}); the graph is prepared again",
                path.display()
            );
            return None;
        }
    };
    match open(file) {
        Ok(prepared) => {
            // The modification time records the last use, for `remove_old`. The file can be used even if this fails.
            let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
            Some(prepared)
        }
        Err(error) => {
            log::warn!(
                "{}: the prepared graph in the cache is damaged ({error}); the graph is prepared again",
                path.display()
            );
            None
        }
    }
}

fn open(mut file: File) -> io::Result<PreparedGraph> {
    let damaged = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let hashed = file.seek(SeekFrom::End(0))?.checked_sub(32).ok_or_else(|| damaged("the file is too short"))?;
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    // Read through the file, because pages that are read through the map count as the program's memory.
    io::copy(&mut (&file).take(hashed), &mut hasher)?;
    let mut digest = [0; 32];
    (&file).read_exact(&mut digest)?;
    if hasher.finalize() != digest {
        return Err(damaged("the digest does not match"));
    }
    // SAFETY: a cached file is written under another name, renamed and never changed. If another process truncates it while it is mapped,
    // this process ends with a bus error, as it would for a shared library.
    let map = Arc::new(unsafe { Mmap::map(&file)? });
    read_parts(&map, hashed).ok_or_else(|| damaged("the index does not match the parts"))
}

fn read_parts(map: &Arc<Mmap>, hashed: u64) -> Option<PreparedGraph> {
    let end = usize::try_from(hashed).ok()?.checked_sub(8)?;
    let length = u64::from_ne_bytes(map.get(end..end + 8)?.try_into().ok()?);
    let start = end.checked_sub(usize::try_from(length).ok()?)?;
    let index: PartIndex = serde_json::from_slice(map.get(start..end)?).ok().filter(|_| map.starts_with(MAGIC))?;
    let graph = ModelProto::decode(map.get(usize_range(&index.graph)?)?).ok()?;
    let product = |product: &ProductParts| {
        let parts = WeightParts {
            inner: product.inner,
            outer: product.outer,
            kernel: product.kernel.clone(),
            quick_gelu: product.quick_gelu.map(f32::from_bits),
            panels: Storage::mapped(map, usize_range(&product.panels)?)?,
            bias: Storage::mapped(map, usize_range(&product.bias)?)?,
            column_scale: Storage::mapped(map, usize_range(&product.column_scale)?)?,
            start: Storage::mapped(map, usize_range(&product.start)?)?,
        };
        PackedWeights::from_parts(parts).map(Arc::new)
    };
    let table = |(width, values): &(usize, Range<u64>)| {
        let values: Storage<f32> = Storage::mapped(map, usize_range(values)?)?;
        let is_whole = *width > 0 && values.len().is_multiple_of(*width);
        is_whole.then(|| Arc::new(LookupTable { width: *width, values }))
    };
    let weights = index.products.iter().map(product).collect::<Option<_>>()?;
    let tables = index.tables.iter().map(table).collect::<Option<_>>()?;
    let filters = |parts: &ConvParts| {
        let &ConvParts { channels, size, stride, limits, ref values } = parts;
        let values: Storage<f32> = Storage::mapped(map, usize_range(values)?)?;
        ConvFilters::new(values, ConvWindows { channels, size, stride }, limits.map(f32::from_bits)).map(Arc::new)
    };
    let filters = index.filters.iter().map(filters).collect::<Option<_>>()?;
    let depthwise = |parts: &DepthwiseParts| {
        let &DepthwiseParts { ref conv, before, after } = parts;
        let &ConvParts { channels, size, stride, limits, ref values } = conv;
        let windows = DepthwiseWindows { channels, size, stride, before, after };
        let values: Storage<f32> = Storage::mapped(map, usize_range(values)?)?;
        DepthwiseFilters::new(values, windows, limits.map(f32::from_bits)).map(Arc::new)
    };
    let depthwise = index.depthwise.iter().map(depthwise).collect::<Option<_>>()?;
    Some(PreparedGraph { graph, constants: Constants { weights, tables, filters, depthwise } })
}

fn usize_range(range: &Range<u64>) -> Option<Range<usize>> {
    Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

/// Writes a graph with large constants to the cache and returns it mapped from the file, which takes less memory. Returns a graph
/// with small constants unchanged.
pub(super) fn cache(path: &Path, prepared: PreparedGraph) -> PreparedGraph {
    let constants = &prepared.constants;
    let weight_bytes: usize = constants.weights.iter().map(|weights| weights.parts().panels.bytes().len()).sum();
    let table_bytes: usize = constants.tables.iter().map(|table| table.values.bytes().len()).sum();
    if weight_bytes + table_bytes < MIN_CACHED_BYTES {
        return prepared;
    }
    match write(path, &prepared) {
        Ok(()) => read(path).unwrap_or(prepared),
        Err(error) => {
            log::info!(
                "{}: the prepared graph cannot be cached: {error}. Make the cache directory writable or free disk \
                 space. Otherwise the next start takes as long as this one",
                path.display()
            );
            prepared
        }
    }
}

fn write(path: &Path, prepared: &PreparedGraph) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    remove_old(dir);
    let unfinished = tempfile::Builder::new().suffix(&format!(".{EXTENSION}")).tempfile_in(dir)?;
    let writer = BufWriter::with_capacity(1 << 20, &unfinished);
    let mut out = PartWriter { writer, hasher: blake3::Hasher::new(), position: 0 };
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
    let mut filters = Vec::with_capacity(prepared.constants.filters.len());
    for conv in &prepared.constants.filters {
        let ConvWindows { channels, size, stride } = conv.windows();
        let (limits, values) = (conv.limits().map(f32::to_bits), out.array(conv.values())?);
        filters.push(ConvParts { channels, size, stride, limits, values });
    }
    let mut depthwise = Vec::with_capacity(prepared.constants.depthwise.len());
    for conv in &prepared.constants.depthwise {
        let DepthwiseWindows { channels, size, stride, before, after } = conv.windows();
        let (limits, values) = (conv.limits().map(f32::to_bits), out.array(conv.values())?);
        depthwise.push(DepthwiseParts { conv: ConvParts { channels, size, stride, limits, values }, before, after });
    }
    let index = serde_json::to_vec(&PartIndex { graph, products, tables, filters, depthwise })?;
    out.bytes(&index)?;
    out.bytes(&(index.len() as u64).to_ne_bytes())?;
    let digest = out.hasher.finalize();
    out.writer.write_all(digest.as_bytes())?;
    out.writer.flush()?;
    drop(out);
    unfinished.persist(path)?;
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

    use super::*;
    use crate::backend::precision::Precision;

    fn made(kernels: &ProductKernels) -> PreparedGraph {
        let matrix: Vec<f32> = (0..1030 * 2100).map(|i| (i % 1013) as f32 / 500.0 - 1.0).collect();
        let bias: Vec<f32> = (0..2100).map(|i| i as f32).collect();
        let weights =
            PackedWeights::pack(&matrix, 2100, Some(&bias), kernels.for_weights(matrix.len() / 2100, 2100)).unwrap();
        let table = LookupTable { width: 100, values: matrix[..100_000].to_vec().into() };
        let windows = ConvWindows { channels: 2, size: [3, 3], stride: [1, 2] };
        let filters = ConvFilters::new(matrix[..19 * 20].to_vec().into(), windows, [f32::NEG_INFINITY, 6.0]).unwrap();
        let graph = GraphProto { name: "a graph".to_owned(), ..GraphProto::default() };
        let graph = ModelProto { graph: Some(graph), ..ModelProto::default() };
        let weights = vec![Arc::new(weights.with_quick_gelu(Some(1.702)))];
        let windows = DepthwiseWindows { channels: 4, size: [3, 5], stride: [2, 1], before: [1, 2], after: [0, 1] };
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
        assert_eq!(prepared.constants.filters[0].windows().stride, [1, 2]);
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
            let path = path(dir.path(), "a digest", &kernels);
            assert!(read(&path).is_none());
            let before = made(&kernels);
            let expected = answer(&before);
            let kept = cache(&path, before);
            let again = read(&path).unwrap();
            assert_eq!((&again.graph, answer(&again)), (&kept.graph, expected));
            let whole = std::fs::read(&path).unwrap();
            for at in [0, 31, 40, 5000, whole.len() / 2, whole.len() - 200, whole.len() - 36, whole.len() - 1] {
                let mut damaged = whole.clone();
                damaged[at] ^= 4;
                std::fs::write(&path, damaged).unwrap();
                assert!(read(&path).is_none(), "byte {at} of {}", whole.len());
            }
            for length in [0, 31, 64, 1000, whole.len() - 1] {
                std::fs::write(&path, &whole[..length]).unwrap();
                assert!(read(&path).is_none(), "cut off at {length}");
            }
        }
    }

    #[test]
    fn files_of_other_digests_and_kernels_have_other_names_and_old_ones_go() {
        let Some(kernels) = ProductKernels::or_skip(Precision::F32, "backend::cpu::prepared") else { return };
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (path(dir.path(), "one", &kernels), path(dir.path(), "two", &kernels));
        assert_ne!(one, two);
        if let Some(bytes) =
            ProductKernels::best(Precision::Int8).filter(|kernels| kernels.precision() == Precision::Int8)
        {
            assert_ne!(one, path(dir.path(), "one", &bytes));
        }
        let foreign = dir.path().join("someone's");
        for path in [&one, &foreign] {
            std::fs::write(path, "x").unwrap();
            let file = File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - MAX_AGE - Duration::from_secs(60)).unwrap();
        }
        cache(&two, made(&kernels));
        assert!(!one.exists() && two.exists() && foreign.exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "an unfinished file is left");
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_nothing_but_time() {
        let Some(kernels) = ProductKernels::or_skip(Precision::F32, "backend::cpu::prepared") else { return };
        let dir = tempfile::tempdir().unwrap();
        let not_a_dir = dir.path().join("file");
        std::fs::write(&not_a_dir, "x").unwrap();
        let prepared = made(&kernels);
        let expected = answer(&prepared);
        assert_eq!(answer(&cache(&path(&not_a_dir, "one", &kernels), prepared)), expected);
    }
}
