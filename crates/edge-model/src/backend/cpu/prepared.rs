//! Prepared graphs, kept for the next start: the rewritten graph and its packed constants in one file, which is mapped. So a start reads
//! each byte once, for the digest, and takes up memory for what it uses only.
//!
//! ```text
//! MAGIC, parts (each at a multiple of 64 bytes), index (JSON), its length (8 bytes), BLAKE3 of all before (32 bytes)
//! ```
//!
//! Numbers are in the processor's own byte order; the file's name holds what it was made of and for.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use memmap2::Mmap;
use prost::Message;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::ModelProto;

use super::constants::{Constants, Table};
use super::convolution::{Filters, Windows};
use super::product::{Kernels, Packed, Weights};
use super::storage::{Plain, Storage};

/// Also the version: of the file and of what the rewriting makes.
const MAGIC: &[u8; 32] = b"edge-scorer prepared graph 1\n\0\0\0";
const ALIGNMENT: u64 = 64;
const EXTENSION: &str = "prepared";
/// Smaller ones are prepared as quickly as they are read. In tests the shipped model's are worth it, too.
const WORTH_KEEPING: usize = if cfg!(test) { 1 << 16 } else { 8 << 20 };
/// A file that no start has used for so long is in the way.
const OLD: Duration = Duration::from_secs(90 * 24 * 3600);

/// A graph and what stands beside it.
pub(super) struct Prepared {
    pub(super) graph: ModelProto,
    pub(super) constants: Constants,
}

#[derive(Serialize, Deserialize)]
struct Index {
    graph: Range<u64>,
    products: Vec<Product>,
    tables: Vec<(usize, Range<u64>)>,
    /// Channels, height, width, steps down and across.
    filters: Vec<([usize; 5], Range<u64>)>,
}

#[derive(Serialize, Deserialize)]
struct Product {
    inner: usize,
    outer: usize,
    kernel: String,
    /// Bits of the factor, so that it stays what it is.
    quick_gelu: Option<u32>,
    panels: Range<u64>,
    bias: Range<u64>,
    column_scale: Range<u64>,
    start: Range<u64>,
}

/// Where the file of a graph with that digest is, for these kernels.
pub(super) fn path(dir: &Path, digest: &str, kernels: &Kernels) -> PathBuf {
    let made_for = format!("{digest}\n{}\n{}", env!("CARGO_PKG_VERSION"), kernels.names());
    let name = blake3::hash(made_for.as_bytes()).to_hex();
    dir.join(format!("{}.{EXTENSION}", &name[..32]))
}

/// Reads a file; `None` where there is none that is whole.
pub(super) fn read(path: &Path) -> Option<Prepared> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            log::warn!("{}: the prepared graph cannot be opened, it is made again: {error}", path.display());
            return None;
        }
    };
    match open(file) {
        Ok(prepared) => {
            // Its age is the time since it was used; whether that can be noted changes nothing now.
            let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
            Some(prepared)
        }
        Err(error) => {
            log::warn!("{}: the prepared graph is damaged and made again: {error}", path.display());
            None
        }
    }
}

fn open(mut file: File) -> io::Result<Prepared> {
    let damaged = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let hashed = file.seek(SeekFrom::End(0))?.checked_sub(32).ok_or_else(|| damaged("it is too short"))?;
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    // Not through the map: what is only read for the digest would count as the program's memory.
    io::copy(&mut (&file).take(hashed), &mut hasher)?;
    let mut digest = [0; 32];
    (&file).read_exact(&mut digest)?;
    if hasher.finalize() != digest {
        return Err(damaged("its digest is another"));
    }
    // SAFETY: the file is written once, under another name, and never changed; whoever cuts it off while it is mapped ends the program,
    // as for a library.
    let map = Arc::new(unsafe { Mmap::map(&file)? });
    read_parts(&map, hashed).ok_or_else(|| damaged("its parts are not where they should be"))
}

fn read_parts(map: &Arc<Mmap>, hashed: u64) -> Option<Prepared> {
    let end = usize::try_from(hashed).ok()?.checked_sub(8)?;
    let length = u64::from_ne_bytes(map.get(end..end + 8)?.try_into().ok()?);
    let start = end.checked_sub(usize::try_from(length).ok()?)?;
    let index: Index = serde_json::from_slice(map.get(start..end)?).ok().filter(|_| map.starts_with(MAGIC))?;
    let graph = ModelProto::decode(map.get(usize_range(&index.graph)?)?).ok()?;
    let product = |product: &Product| {
        let packed = Packed {
            inner: product.inner,
            outer: product.outer,
            kernel: product.kernel.clone(),
            quick_gelu: product.quick_gelu.map(f32::from_bits),
            panels: Storage::mapped(map, usize_range(&product.panels)?)?,
            bias: Storage::mapped(map, usize_range(&product.bias)?)?,
            column_scale: Storage::mapped(map, usize_range(&product.column_scale)?)?,
            start: Storage::mapped(map, usize_range(&product.start)?)?,
        };
        Weights::unpack(packed).map(Arc::new)
    };
    let table = |(width, values): &(usize, Range<u64>)| {
        let values: Storage<f32> = Storage::mapped(map, usize_range(values)?)?;
        let is_whole = *width > 0 && values.len().is_multiple_of(*width);
        is_whole.then(|| Arc::new(Table { width: *width, values }))
    };
    let weights = index.products.iter().map(product).collect::<Option<_>>()?;
    let tables = index.tables.iter().map(table).collect::<Option<_>>()?;
    let filters = |([channels, height, width, down, across], values): &([usize; 5], Range<u64>)| {
        let shape = Windows { channels: *channels, size: [*height, *width], step: [*down, *across] };
        let values: Storage<f32> = Storage::mapped(map, usize_range(values)?)?;
        Filters::new(values, shape).map(Arc::new)
    };
    let filters = index.filters.iter().map(filters).collect::<Option<_>>()?;
    Some(Prepared { graph, constants: Constants { weights, tables, filters } })
}

fn usize_range(range: &Range<u64>) -> Option<Range<usize>> {
    Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

/// Keeps a graph whose constants are worth it, and gives it back as it was read from there, which takes less memory.
pub(super) fn keep(path: &Path, prepared: Prepared) -> Prepared {
    let constants = &prepared.constants;
    let of_weights: usize = constants.weights.iter().map(|weights| weights.packed().panels.bytes().len()).sum();
    let of_tables: usize = constants.tables.iter().map(|table| table.values.bytes().len()).sum();
    if of_weights + of_tables < WORTH_KEEPING {
        return prepared;
    }
    match write(path, &prepared) {
        Ok(()) => read(path).unwrap_or(prepared),
        Err(error) => {
            log::info!("{}: the prepared graph is not kept, the next start takes as long: {error}", path.display());
            prepared
        }
    }
}

fn write(path: &Path, prepared: &Prepared) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    remove_old(dir);
    let unfinished = tempfile::Builder::new().suffix(&format!(".{EXTENSION}")).tempfile_in(dir)?;
    let mut out = Parts { out: BufWriter::with_capacity(1 << 20, &unfinished), hasher: blake3::Hasher::new(), at: 0 };
    out.bytes(MAGIC)?;
    let graph = out.part(&prepared.graph.encode_to_vec())?;
    let mut products = Vec::with_capacity(prepared.constants.weights.len());
    for weights in &prepared.constants.weights {
        let packed = weights.packed();
        products.push(Product {
            inner: packed.inner,
            outer: packed.outer,
            kernel: packed.kernel.clone(),
            quick_gelu: packed.quick_gelu.map(f32::to_bits),
            panels: out.array(packed.panels)?,
            bias: out.array(packed.bias)?,
            column_scale: out.array(packed.column_scale)?,
            start: out.array(packed.start)?,
        });
    }
    let table = |table: &Arc<Table>| Ok((table.width, out.array(&table.values)?));
    let tables = prepared.constants.tables.iter().map(table).collect::<io::Result<_>>()?;
    let mut filters = Vec::with_capacity(prepared.constants.filters.len());
    for kept in &prepared.constants.filters {
        let Windows { channels, size: [height, width], step: [down, across] } = kept.shape();
        filters.push(([channels, height, width, down, across], out.array(kept.values())?));
    }
    let index = serde_json::to_vec(&Index { graph, products, tables, filters })?;
    out.bytes(&index)?;
    out.bytes(&(index.len() as u64).to_ne_bytes())?;
    let digest = out.hasher.finalize();
    out.out.write_all(digest.as_bytes())?;
    out.out.flush()?;
    drop(out);
    unfinished.persist(path)?;
    Ok(())
}

/// The file in the making.
struct Parts<'a> {
    out: BufWriter<&'a tempfile::NamedTempFile>,
    hasher: blake3::Hasher,
    at: u64,
}

impl Parts<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn part(&mut self, bytes: &[u8]) -> io::Result<Range<u64>> {
        let padding = self.at.next_multiple_of(ALIGNMENT) - self.at;
        self.bytes(&[0; ALIGNMENT as usize][..padding as usize])?;
        let start = self.at;
        self.bytes(bytes)?;
        Ok(start..self.at)
    }

    fn array<T: Plain>(&mut self, array: &Storage<T>) -> io::Result<Range<u64>> {
        self.part(array.bytes())
    }
}

/// Removes what no start has used for long: the files of models that were replaced, and those of a start that was cut off.
fn remove_old(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.path().extension().is_some_and(|extension| extension == EXTENSION);
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|time| time.elapsed().ok());
        if is_ours && age.is_some_and(|age| age > OLD) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::GraphProto;

    use super::*;
    use crate::backend::Precision;

    fn made(kernels: &Kernels) -> Prepared {
        let matrix: Vec<f32> = (0..1030 * 2100).map(|i| (i % 1013) as f32 / 500.0 - 1.0).collect();
        let bias: Vec<f32> = (0..2100).map(|i| i as f32).collect();
        let weights = Weights::pack(&matrix, 2100, Some(&bias), kernels.for_weights(matrix.len())).unwrap();
        let table = Table { width: 100, values: matrix[..100_000].to_vec().into() };
        let windows = Windows { channels: 2, size: [3, 3], step: [1, 2] };
        let filters = Filters::new(matrix[..19 * 20].to_vec().into(), windows).unwrap();
        let graph = GraphProto { name: "a graph".to_owned(), ..GraphProto::default() };
        let graph = ModelProto { graph: Some(graph), ..ModelProto::default() };
        let weights = vec![Arc::new(weights.with_quick_gelu(Some(1.702)))];
        let constants = Constants { weights, tables: vec![Arc::new(table)], filters: vec![Arc::new(filters)] };
        Prepared { graph, constants }
    }

    fn answer(prepared: &Prepared) -> Vec<f32> {
        let activations: Vec<f32> = (0..7 * 1030).map(|i| (i % 91) as f32 / 45.0 - 1.0).collect();
        let mut out = vec![0.0; 7 * 2100];
        prepared.constants.weights[0].multiply(&activations, 1, &mut out);
        out.extend_from_slice(prepared.constants.tables[0].row(999).unwrap());
        out.extend_from_slice(prepared.constants.filters[0].values());
        assert_eq!(prepared.constants.filters[0].shape().step, [1, 2]);
        out
    }

    #[test]
    fn what_is_kept_is_read_as_it_was_and_damage_is_seen() {
        for precision in [Precision::F32, Precision::Int8] {
            let Some(kernels) = Kernels::or_skip(precision, "backend::cpu::prepared") else { return };
            let dir = tempfile::tempdir().unwrap();
            let path = path(dir.path(), "a digest", &kernels);
            assert!(read(&path).is_none());
            let before = made(&kernels);
            let expected = answer(&before);
            let kept = keep(&path, before);
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
        let Some(kernels) = Kernels::or_skip(Precision::F32, "backend::cpu::prepared") else { return };
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (path(dir.path(), "one", &kernels), path(dir.path(), "two", &kernels));
        assert_ne!(one, two);
        if let Some(bytes) = Kernels::best(Precision::Int8).filter(|kernels| kernels.precision() == Precision::Int8) {
            assert_ne!(one, path(dir.path(), "one", &bytes));
        }
        let of_others = dir.path().join("someone's");
        for path in [&one, &of_others] {
            std::fs::write(path, "x").unwrap();
            let file = File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - OLD - Duration::from_secs(60)).unwrap();
        }
        keep(&two, made(&kernels));
        assert!(!one.exists() && two.exists() && of_others.exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing unfinished is left");
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_nothing_but_time() {
        let Some(kernels) = Kernels::or_skip(Precision::F32, "backend::cpu::prepared") else { return };
        let dir = tempfile::tempdir().unwrap();
        let not_a_dir = dir.path().join("file");
        std::fs::write(&not_a_dir, "x").unwrap();
        let prepared = made(&kernels);
        let expected = answer(&prepared);
        assert_eq!(answer(&keep(&path(&not_a_dir, "one", &kernels), prepared)), expected);
    }
}
