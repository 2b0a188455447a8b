//! What stands beside a graph whose constants were taken out of it.

use std::sync::Arc;

use super::convolution::Filters;
use super::product::Weights;
use super::storage::Storage;

/// The constants that a graph's operators refer to, by their places.
#[derive(Default)]
pub(super) struct Constants {
    pub(super) weights: Vec<Arc<Weights>>,
    pub(super) tables: Vec<Arc<Table>>,
    pub(super) filters: Vec<Arc<Filters>>,
}

/// Rows that are looked up by number, such as a text encoder's token embeddings: `[rows, width]`.
pub(super) struct Table {
    pub(super) width: usize,
    pub(super) values: Storage<f32>,
}

impl Table {
    /// A row; numbers below zero count from the end, as in ONNX. `None` where there is no such row.
    pub(super) fn row(&self, number: i64) -> Option<&[f32]> {
        let rows = self.values.len() / self.width;
        let number = if number < 0 { number.checked_add(i64::try_from(rows).ok()?)? } else { number };
        let number = usize::try_from(number).ok().filter(|number| *number < rows)?;
        self.values.get(number * self.width..(number + 1) * self.width)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table([{}, {}])", self.values.len() / self.width, self.width)
    }
}
