//! Constant matrices, packed, and the product with them.

use std::cell::RefCell;

use super::super::rows::{Width, quick_gelu};
use super::super::storage::Storage;
use super::kernel::{COLUMNS, Kernel, Run};
use super::multiply::{F32Product, Int8Columns, Int8Product, ROWS_AT_ONCE, Rows, Step};
use super::quantize::{ZERO, byte, quantize_row, scale_of};
use super::strassen;

/// A matrix `[K, N]` with a bias `[N]`, packed in panels of [`COLUMNS`] columns; the last one is filled up with zeros.
pub(in super::super) struct Weights {
    /// `K`.
    inner: usize,
    /// `N`.
    outer: usize,
    /// Steps of a panel.
    steps: usize,
    /// Panel after panel.
    panels: Storage<Step>,
    /// A value for each column of all panels.
    bias: Storage<f32>,
    /// The same, for bytes: what a column's bytes are to be multiplied with, and what its offset adds up to.
    column_scale: Storage<f32>,
    start: Storage<i32>,
    /// `factor` of `x * sigmoid(factor * x)`, which the product goes through.
    quick_gelu: Option<f32>,
    kernel: Kernel,
    width: Width,
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights([{}, {}] for {})", self.inner, self.outer, self.kernel.name)
    }
}

impl Weights {
    /// Packs `matrix`, `[K, N]` by rows, for a kernel. `None` for numbers that the kernel's kind cannot hold.
    pub(in super::super) fn pack(matrix: &[f32], outer: usize, bias: Option<&[f32]>, kernel: Kernel) -> Option<Self> {
        let inner = matrix.len() / outer;
        let columns = outer.next_multiple_of(COLUMNS);
        let mut padded = vec![0.0; columns];
        padded[..outer].copy_from_slice(bias.unwrap_or(&vec![0.0; outer]));
        let (panels, column_scale, start) = match kernel.run {
            Run::F32(_) => (f32_panels(matrix, outer), Vec::new(), Vec::new()),
            Run::Int8(_) => int8_panels(matrix, outer)?,
        };
        Self::unpack(Packed {
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

    /// The weights that were [`Packed`]; `None` where the parts do not fit together or this processor has no such kernel.
    pub(in super::super) fn unpack(packed: Packed<Storage<Step>, Storage<f32>, Storage<i32>>) -> Option<Self> {
        let Packed { inner, outer, kernel, quick_gelu, panels, bias, column_scale, start } = packed;
        let kernel = Kernel::available().into_iter().find(|known| known.name == kernel)?;
        let columns = outer.checked_next_multiple_of(COLUMNS).filter(|_| inner > 0 && outer > 0)?;
        let (steps, scaled) = match kernel.run {
            Run::F32(_) => (inner, 0),
            Run::Int8(_) => (inner.div_ceil(4), columns),
        };
        let fits = panels.len() == steps.checked_mul(columns / COLUMNS)?
            && (bias.len(), column_scale.len(), start.len()) == (columns, scaled, scaled);
        let width = Width::best();
        fits.then_some(Self { inner, outer, steps, panels, bias, column_scale, start, quick_gelu, kernel, width })
    }

    /// What [`Weights::unpack`] makes them of.
    pub(in super::super) fn packed(&self) -> Packed<&Storage<Step>, &Storage<f32>, &Storage<i32>> {
        Packed {
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

    /// The same with `x * sigmoid(factor * x)` behind the product.
    pub(in super::super) fn with_quick_gelu(self, factor: Option<f32>) -> Self {
        Self { quick_gelu: factor, ..self }
    }

    /// `K`.
    pub(in super::super) fn inner(&self) -> usize {
        self.inner
    }

    /// `out = activations x self + bias`, both by rows, `[R, K]` and `[R, N]`. So many rows following each other belong `together`, to one
    /// image or text; what comes out for them does not depend on the others, to the bit.
    ///
    /// # Panics
    /// Where the lengths are no whole rows, or not the same number of them, or `together` is 0.
    pub(in super::super) fn multiply(&self, activations: &[f32], together: usize, out: &mut [f32]) {
        let rows = activations.len() / self.inner;
        assert!(activations.len() == rows * self.inner && out.len() == rows * self.outer, "whole rows");
        let (group, part) = rows_at_once(together);
        let groups = activations.chunks(group * self.inner).zip(out.chunks_mut(group * self.outer));
        for (input, out) in groups {
            for (input, out) in input.chunks(part * self.inner).zip(out.chunks_mut(part * self.outer)) {
                self.multiply_part(input, together.min(part), out);
            }
        }
    }

    fn multiply_part(&self, input: &[f32], together: usize, out: &mut [f32]) {
        match self.kernel.run {
            Run::F32(product) if strassen::is_worth_it(&product, [together, self.inner, self.outer]) => {
                let left = strassen::Left { values: input, inner: self.inner, together };
                let right = strassen::Right { panels: &self.panels, outer: self.outer, bias: &self.bias };
                strassen::multiply(&product, self.width, left, right, out);
            }
            Run::F32(product) => self.multiply_f32(product, input, out),
            Run::Int8(product) => self.multiply_int8(product, input, out),
        }
        if let Some(factor) = self.quick_gelu {
            quick_gelu(self.width, out, factor);
        }
    }

    fn multiply_f32(&self, product: F32Product, input: &[f32], out: &mut [f32]) {
        let left = Rows { values: input, stride: self.inner, width: self.inner };
        product.multiply(left, &self.panels, self.outer, &self.bias, out, self.outer);
    }

    fn multiply_int8(&self, product: Int8Product, input: &[f32], out: &mut [f32]) {
        let columns = Int8Columns {
            panels: &self.panels,
            steps: self.steps,
            outer: self.outer,
            start: &self.start,
            scale: &self.column_scale,
            bias: &self.bias,
        };
        BYTES.with_borrow_mut(|(groups, row_scale)| {
            let rows = input.chunks_exact(self.inner);
            groups.resize(rows.len() * self.steps, [0; 4]);
            row_scale.clear();
            let quantized = groups.chunks_exact_mut(self.steps).zip(rows);
            row_scale.extend(quantized.map(|(groups, row)| quantize_row(self.width, row, groups.as_flattened_mut())));
            product.multiply(groups, row_scale, columns, out);
        });
    }
}

/// What weights are made of; `P`, `F` and `I` hold them.
pub(in super::super) struct Packed<P, F, I> {
    pub(in super::super) inner: usize,
    pub(in super::super) outer: usize,
    /// Name of the kernel that they are packed for.
    pub(in super::super) kernel: String,
    pub(in super::super) quick_gelu: Option<f32>,
    pub(in super::super) panels: P,
    pub(in super::super) bias: F,
    pub(in super::super) column_scale: F,
    pub(in super::super) start: I,
}

fn f32_panels(matrix: &[f32], outer: usize) -> Vec<Step> {
    let mut panels = Vec::with_capacity(matrix.len() / outer * outer.div_ceil(COLUMNS));
    for first in (0..outer).step_by(COLUMNS) {
        let width = COLUMNS.min(outer - first);
        panels.extend(matrix.chunks_exact(outer).map(|row| Step::of(&row[first..first + width])));
    }
    panels
}

/// Panels, scales and starts; `None` where a weight is not finite.
fn int8_panels(matrix: &[f32], outer: usize) -> Option<(Vec<Step>, Vec<f32>, Vec<i32>)> {
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
            let mut step = Step::ZERO;
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

/// Into what rows are divided of which so many belong `together`: groups, and parts of these that are multiplied at once. A group is
/// some that fit together, or one that is divided into equal parts.
fn rows_at_once(together: usize) -> (usize, usize) {
    let parts = together.div_ceil(ROWS_AT_ONCE);
    let fit = (ROWS_AT_ONCE / together).max(1) * together;
    (fit, fit.div_ceil(parts))
}

thread_local! {
    /// Activations as bytes, and their rows' scales: kept, because getting memory takes longer than filling it.
    static BYTES: RefCell<(Vec<[u8; 4]>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}
