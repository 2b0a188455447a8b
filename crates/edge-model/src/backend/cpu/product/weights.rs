//! Constant matrices, packed for a kernel, and the product with them.

use std::cell::RefCell;

use super::super::rows::{VectorWidth, quick_gelu};
use super::super::storage::Storage;
use super::available::kernels;
use super::kernel::{COLUMNS, F32Kernel, Int8Kernel, KernelKind, PanelStep, ProductKernel};
use super::multiply::{Int8Columns, MAX_BLOCK_ROWS, MatrixRows};
use super::quantize::{ZERO, byte, quantize_row, scale_of};
use super::strassen;

/// A matrix `[K, N]` and a bias `[N]`, packed in panels of [`COLUMNS`] columns. The last panel is padded with zeros.
pub(in crate::backend::cpu) struct PackedWeights {
    /// `K`, the number of rows of the matrix.
    inner: usize,
    /// `N`, the number of columns of the matrix, without padding.
    outer: usize,
    /// Number of steps in each panel.
    steps: usize,
    /// All panels, one after the other.
    panels: Storage<PanelStep>,
    /// A value for each column of all panels.
    bias: Storage<f32>,
    /// For bytes, the scale of each column of all panels; otherwise empty.
    column_scale: Storage<f32>,
    /// For bytes, the value that cancels the offset of the activations in each column of all panels; otherwise empty.
    start: Storage<i32>,
    /// `factor` of the activation function `x * sigmoid(factor * x)`, which is applied to the product.
    quick_gelu: Option<f32>,
    kernel: ProductKernel,
    width: VectorWidth,
}

impl std::fmt::Debug for PackedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedWeights([{}, {}] for {})", self.inner, self.outer, self.kernel.name)
    }
}

impl PackedWeights {
    /// Packs `matrix`, `[K, N]` by rows, for a kernel. Returns `None` if the kernel multiplies bytes and a weight is not finite.
    pub(in crate::backend::cpu) fn pack(
        matrix: &[f32],
        outer: usize,
        bias: Option<&[f32]>,
        kernel: ProductKernel,
    ) -> Option<Self> {
        let inner = matrix.len() / outer;
        let columns = outer.next_multiple_of(COLUMNS);
        let mut padded = vec![0.0; columns];
        padded[..outer].copy_from_slice(bias.unwrap_or(&vec![0.0; outer]));
        let (panels, column_scale, start) = match kernel.kind {
            KernelKind::F32(_) => (f32_panels(matrix, outer), Vec::new(), Vec::new()),
            KernelKind::Int8(_) => int8_panels(matrix, outer)?,
        };
        Self::from_parts(WeightParts {
            inner,
            outer,
            kernel: kernel.name.to_owned(),
            quick_gelu: None,
            panels: panels.into(),
            bias: padded.into(),
            column_scale: column_scale.into(),
            start: start.into(),
        })
    }

    /// Makes weights from their parts; `None` if the parts do not fit together or this processor does not have the kernel.
    pub(in crate::backend::cpu) fn from_parts(
        parts: WeightParts<Storage<PanelStep>, Storage<f32>, Storage<i32>>,
    ) -> Option<Self> {
        let WeightParts { inner, outer, kernel, quick_gelu, panels, bias, column_scale, start } = parts;
        let kernel = kernels().into_iter().find(|known| known.name == kernel)?;
        let columns = outer.checked_next_multiple_of(COLUMNS).filter(|_| inner > 0 && outer > 0)?;
        let (steps, scaled) = match kernel.kind {
            KernelKind::F32(_) => (inner, 0),
            KernelKind::Int8(_) => (inner.div_ceil(4), columns),
        };
        let fits = panels.len() == steps.checked_mul(columns / COLUMNS)?
            && (bias.len(), column_scale.len(), start.len()) == (columns, scaled, scaled);
        let width = VectorWidth::best();
        fits.then_some(Self { inner, outer, steps, panels, bias, column_scale, start, quick_gelu, kernel, width })
    }

    /// Returns the parts, for [`PackedWeights::from_parts`].
    pub(in crate::backend::cpu) fn parts(&self) -> WeightParts<&Storage<PanelStep>, &Storage<f32>, &Storage<i32>> {
        WeightParts {
            inner: self.inner,
            outer: self.outer,
            kernel: self.kernel.name.to_owned(),
            quick_gelu: self.quick_gelu,
            panels: &self.panels,
            bias: &self.bias,
            column_scale: &self.column_scale,
            start: &self.start,
        }
    }

    /// Sets the activation function `x * sigmoid(factor * x)`, or none.
    pub(in crate::backend::cpu) fn with_quick_gelu(self, factor: Option<f32>) -> Self {
        Self { quick_gelu: factor, ..self }
    }

    /// Returns `K`, the number of rows of the matrix.
    pub(in crate::backend::cpu) fn inner(&self) -> usize {
        self.inner
    }

    /// Computes `out = activations x self + bias`. `activations` is `[R, K]` and `out` is `[R, N]`, both by rows. Each image or
    /// text has `rows_per_item` consecutive rows. Its result is the same, to the bit, whatever the rows of other images and
    /// texts hold.
    ///
    /// # Panics
    /// If `activations` or `out` does not consist of `R` whole rows, or if `rows_per_item` is 0.
    pub(in crate::backend::cpu) fn multiply(&self, activations: &[f32], rows_per_item: usize, out: &mut [f32]) {
        let rows = activations.len() / self.inner;
        assert!(activations.len() == rows * self.inner && out.len() == rows * self.outer, "the rows are incomplete");
        let (group, block) = block_rows(rows_per_item);
        let groups = activations.chunks(group * self.inner).zip(out.chunks_mut(group * self.outer));
        for (input, out) in groups {
            for (input, out) in input.chunks(block * self.inner).zip(out.chunks_mut(block * self.outer)) {
                self.multiply_block(input, rows_per_item.min(block), out);
            }
        }
    }

    fn multiply_block(&self, input: &[f32], rows_per_item: usize, out: &mut [f32]) {
        match self.kernel.kind {
            KernelKind::F32(kernel) if strassen::is_faster(&kernel, [rows_per_item, self.inner, self.outer]) => {
                let left = strassen::LeftMatrix { values: input, inner: self.inner, rows_per_item };
                let right = strassen::RightMatrix { panels: &self.panels, outer: self.outer, bias: &self.bias };
                strassen::multiply(&kernel, self.width, left, right, out);
            }
            KernelKind::F32(kernel) => self.multiply_f32(kernel, input, out),
            KernelKind::Int8(kernel) => self.multiply_int8(kernel, input, out),
        }
        if let Some(factor) = self.quick_gelu {
            quick_gelu(self.width, out, factor);
        }
    }

    fn multiply_f32(&self, kernel: F32Kernel, input: &[f32], out: &mut [f32]) {
        let left = MatrixRows { values: input, stride: self.inner, width: self.inner };
        kernel.multiply(left, &self.panels, self.outer, &self.bias, out, self.outer);
    }

    fn multiply_int8(&self, kernel: Int8Kernel, input: &[f32], out: &mut [f32]) {
        let columns = Int8Columns {
            panels: &self.panels,
            steps: self.steps,
            outer: self.outer,
            start: &self.start,
            scale: &self.column_scale,
            bias: &self.bias,
        };
        QUANTIZED.with_borrow_mut(|Quantized { groups, row_scale }| {
            let rows = input.chunks_exact(self.inner);
            groups.resize(rows.len() * self.steps, 0);
            row_scale.clear();
            let rows = groups.chunks_exact_mut(self.steps).zip(rows);
            let quantize =
                |(groups, row): (&mut [u32], _)| quantize_row(self.width, row, bytemuck::cast_slice_mut(groups));
            row_scale.extend(rows.map(quantize));
            kernel.multiply(groups, row_scale, columns, out);
        });
    }
}

/// The parts of [`PackedWeights`], for files. `P`, `F` and `I` hold the panels, the floats and the integers.
pub(in crate::backend::cpu) struct WeightParts<P, F, I> {
    pub(in crate::backend::cpu) inner: usize,
    pub(in crate::backend::cpu) outer: usize,
    /// Name of the kernel that the weights are packed for.
    pub(in crate::backend::cpu) kernel: String,
    pub(in crate::backend::cpu) quick_gelu: Option<f32>,
    pub(in crate::backend::cpu) panels: P,
    pub(in crate::backend::cpu) bias: F,
    pub(in crate::backend::cpu) column_scale: F,
    pub(in crate::backend::cpu) start: I,
}

fn f32_panels(matrix: &[f32], outer: usize) -> Vec<PanelStep> {
    let mut panels = Vec::with_capacity(matrix.len() / outer * outer.div_ceil(COLUMNS));
    for first in (0..outer).step_by(COLUMNS) {
        let width = COLUMNS.min(outer - first);
        panels.extend(matrix.chunks_exact(outer).map(|row| PanelStep::of(&row[first..first + width])));
    }
    panels
}

/// Returns panels, column scales and starts; `None` if a weight is not finite.
fn int8_panels(matrix: &[f32], outer: usize) -> Option<(Vec<PanelStep>, Vec<f32>, Vec<i32>)> {
    let (steps, columns) = ((matrix.len() / outer).div_ceil(4), outer.next_multiple_of(COLUMNS));
    let (mut inverse, mut scale, mut start) = (vec![0.0; columns], vec![0.0; columns], vec![0; columns]);
    for column in 0..outer {
        (scale[column], inverse[column]) = scale_of(matrix[column..].iter().step_by(outer).copied());
    }
    if scale.iter().any(|scale| !scale.is_finite()) {
        return None;
    }
    let mut panels = Vec::with_capacity(steps * columns / COLUMNS);
    for first in (0..outer).step_by(COLUMNS) {
        let width = COLUMNS.min(outer - first);
        for rows in matrix.chunks(4 * outer) {
            let mut step = PanelStep::ZERO;
            for (place, row) in rows.chunks_exact(outer).enumerate() {
                for column in 0..width {
                    let value = byte(row[first + column], inverse[first + column]);
                    step.0[column][place] = value.cast_unsigned();
                    start[first + column] -= ZERO * i32::from(value);
                }
            }
            panels.push(step);
        }
    }
    Some((panels, scale, start))
}

/// Returns the number of rows of a group and of a block. An item is one image or text. Rows are divided into groups, and each
/// group into blocks; the rows of a block are multiplied together. If an item fits in a block, a group is one block of as many
/// whole items as fit. Otherwise a group is one item, divided into blocks of about equal size.
fn block_rows(rows_per_item: usize) -> (usize, usize) {
    let blocks = rows_per_item.div_ceil(MAX_BLOCK_ROWS);
    let group = (MAX_BLOCK_ROWS / rows_per_item).max(1) * rows_per_item;
    (group, group.div_ceil(blocks))
}

/// Activations that were rounded to bytes, as the left side of a product.
#[derive(Default)]
struct Quantized {
    /// Groups of four bytes; each row is padded to whole groups.
    groups: Vec<u32>,
    /// A scale for each row.
    row_scale: Vec<f32>,
}

thread_local! {
    /// The rounded activations, reused from run to run because allocating them takes longer than filling them.
    static QUANTIZED: RefCell<Quantized> = RefCell::default();
}
