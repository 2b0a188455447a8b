//! Constant matrices, packed, and the product with them.

use std::cell::RefCell;

use super::super::rows::{Width, quick_gelu};
use super::kernel::{COLUMNS, Kernel, Run};
use super::multiply::{F32Product, Int8Columns, Int8Product, ROWS_AT_ONCE, Rows, Step};
use super::quantize::{ZERO, byte, quantize_row, scale_of};

/// A matrix `[K, N]` with a bias `[N]`, packed in panels of [`COLUMNS`] columns; the last one is filled up with zeros.
pub(in super::super) struct Weights {
    /// `K`.
    inner: usize,
    /// `N`.
    outer: usize,
    /// Steps of a panel.
    steps: usize,
    /// Panel after panel.
    panels: Vec<Step>,
    /// A value for each column of all panels.
    bias: Vec<f32>,
    /// The same, for bytes: what a column's bytes are to be multiplied with, and what its offset adds up to.
    column_scale: Vec<f32>,
    start: Vec<i32>,
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
        let mut weights = Self {
            inner,
            outer,
            steps: 0,
            panels: Vec::new(),
            bias: padded,
            column_scale: Vec::new(),
            start: Vec::new(),
            quick_gelu: None,
            kernel,
            width: Width::best(),
        };
        match kernel.run {
            Run::F32(_) => weights.fill_f32(matrix),
            Run::Int8(_) => weights.fill_int8(matrix)?,
        }
        Some(weights)
    }

    /// The same with `x * sigmoid(factor * x)` behind the product.
    pub(in super::super) fn with_quick_gelu(self, factor: Option<f32>) -> Self {
        Self { quick_gelu: factor, ..self }
    }

    fn fill_f32(&mut self, matrix: &[f32]) {
        self.steps = self.inner;
        self.panels.reserve_exact(self.steps * self.outer.div_ceil(COLUMNS));
        for first in (0..self.outer).step_by(COLUMNS) {
            let width = COLUMNS.min(self.outer - first);
            self.panels.extend(matrix.chunks_exact(self.outer).map(|row| Step::of(&row[first..first + width])));
        }
    }

    fn fill_int8(&mut self, matrix: &[f32]) -> Option<()> {
        self.steps = self.inner.div_ceil(4);
        let columns = self.bias.len();
        let mut inverse = vec![0.0; columns];
        self.column_scale = vec![0.0; columns];
        self.start = vec![0; columns];
        for column in 0..self.outer {
            let (scale, of_bytes) = scale_of(matrix[column..].iter().step_by(self.outer).copied());
            if !scale.is_finite() {
                return None;
            }
            (self.column_scale[column], inverse[column]) = (scale, of_bytes);
        }
        self.panels.reserve_exact(self.steps * columns / COLUMNS);
        for first in (0..self.outer).step_by(COLUMNS) {
            let width = COLUMNS.min(self.outer - first);
            for rows in matrix.chunks(4 * self.outer) {
                let mut step = Step::ZERO;
                for (place, row) in rows.chunks_exact(self.outer).enumerate() {
                    for column in 0..width {
                        let value = byte(row[first + column], inverse[first + column]);
                        step.0[column][place] = value.cast_unsigned();
                        self.start[first + column] -= ZERO * i32::from(value);
                    }
                }
                self.panels.push(step);
            }
        }
        Some(())
    }

    /// `K`.
    pub(in super::super) fn inner(&self) -> usize {
        self.inner
    }

    /// `out = activations x self + bias`, both by rows, `[R, K]` and `[R, N]`.
    ///
    /// # Panics
    /// Where the lengths are no whole rows, or not the same number of them.
    pub(in super::super) fn multiply(&self, activations: &[f32], out: &mut [f32]) {
        let rows = activations.len() / self.inner;
        assert!(activations.len() == rows * self.inner && out.len() == rows * self.outer, "whole rows");
        let inputs = activations.chunks(ROWS_AT_ONCE * self.inner);
        for (input, out) in inputs.zip(out.chunks_mut(ROWS_AT_ONCE * self.outer)) {
            match self.kernel.run {
                Run::F32(product) => self.multiply_f32(product, input, out),
                Run::Int8(product) => self.multiply_int8(product, input, out),
            }
            if let Some(factor) = self.quick_gelu {
                quick_gelu(self.width, out, factor);
            }
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

thread_local! {
    /// Activations as bytes, and their rows' scales: kept, because getting memory takes longer than filling it.
    static BYTES: RefCell<(Vec<[u8; 4]>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}
