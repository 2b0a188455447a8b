//! The index of a cached file, and how the parts become a graph again.

use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;
use prost::Message;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::ModelProto;

use super::super::constants::{Constants, LookupTable};
use super::super::convolution::ConvFilters;
use super::super::depthwise::DepthwiseFilters;
use super::super::product::{PackedWeights, WeightParts};
use super::super::storage::Storage;
use super::super::windows::ConvWindows;
use super::{MAGIC, PreparedGraph};

/// The positions of the parts in a file.
#[derive(Serialize, Deserialize)]
pub(super) struct PartIndex {
    pub(super) graph: Range<u64>,
    pub(super) products: Vec<ProductParts>,
    /// Width of each table, and the position of its values in the file.
    pub(super) tables: Vec<(usize, Range<u64>)>,
    pub(super) filters: Vec<ConvParts>,
    pub(super) depthwise: Vec<ConvParts>,
}

/// The parts of a [`ConvFilters`] or a [`DepthwiseFilters`].
#[derive(Serialize, Deserialize)]
pub(super) struct ConvParts {
    pub(super) windows: ConvWindows,
    /// The limits of the results, each an f32, as integers of the same bits. JSON has no infinity.
    pub(super) limits: [u32; 2],
    pub(super) values: Range<u64>,
}

/// The parts of a [`PackedWeights`]; see [`WeightParts`].
#[derive(Serialize, Deserialize)]
pub(super) struct ProductParts {
    pub(super) inner: usize,
    pub(super) outer: usize,
    pub(super) kernel: String,
    /// Factor of the activation function, an f32, as an integer of the same bits. JSON stores an integer exactly.
    pub(super) quick_gelu: Option<u32>,
    pub(super) panels: Range<u64>,
    pub(super) bias: Range<u64>,
    pub(super) column_scale: Range<u64>,
    pub(super) start: Range<u64>,
}

/// Makes a graph from the bytes of a file. The digest begins at `hashed`. Returns `None` if the index does not match the parts.
pub(super) fn read_parts(map: &Arc<Mmap>, hashed: u64) -> Option<PreparedGraph> {
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
    let values = |parts: &ConvParts| Storage::<f32>::mapped(map, usize_range(&parts.values)?);
    let limits = |parts: &ConvParts| parts.limits.map(f32::from_bits);
    let filters = |parts| ConvFilters::new(values(parts)?, parts.windows, limits(parts)).map(Arc::new);
    let filters = index.filters.iter().map(filters).collect::<Option<_>>()?;
    let depthwise = |parts| DepthwiseFilters::new(values(parts)?, parts.windows, limits(parts)).map(Arc::new);
    let depthwise = index.depthwise.iter().map(depthwise).collect::<Option<_>>()?;
    Some(PreparedGraph { graph, constants: Constants { weights, tables, filters, depthwise } })
}

fn usize_range(range: &Range<u64>) -> Option<Range<usize>> {
    Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}
