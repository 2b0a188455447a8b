//! The constants of our operators in one graph: packed weights, lookup tables, and filters of two kinds.

use std::sync::Arc;

use super::convolution::ConvFilters;
use super::depthwise::DepthwiseFilters;
use super::product::PackedWeights;
use super::storage::Storage;

/// The constants of a graph's operators, which refer to them by index.
#[derive(Default)]
pub(super) struct Constants {
    pub(super) weights: Vec<Arc<PackedWeights>>,
    pub(super) tables: Vec<Arc<LookupTable>>,
    pub(super) filters: Vec<Arc<ConvFilters>>,
    pub(super) depthwise: Vec<Arc<DepthwiseFilters>>,
}

/// A table `[rows, width]` whose rows are looked up by number, such as a text encoder's token embeddings.
pub(super) struct LookupTable {
    pub(super) width: usize,
    pub(super) values: Storage<f32>,
}

impl LookupTable {
    /// Returns a row; `None` if there is no such row. As in ONNX, negative numbers count from the end.
    pub(super) fn row(&self, number: i64) -> Option<&[f32]> {
        let rows = self.values.len() / self.width;
        let number = if number < 0 { number.checked_add(i64::try_from(rows).ok()?)? } else { number };
        let number = usize::try_from(number).ok().filter(|number| *number < rows)?;
        self.values.get(number * self.width..(number + 1) * self.width)
    }
}

impl std::fmt::Debug for LookupTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LookupTable([{}, {}])", self.values.len() / self.width, self.width)
    }
}
