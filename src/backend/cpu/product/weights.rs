//! Constant matrices, packed, and the product with them.

use std::cell::RefCell;

use super::kernel::{COLUMNS, F32Tile, Int8Tile, Kernel, Run};
use super::quantize::{ZERO, byte, quantize_row, scale_of};

/// What a kernel reads of a panel at once: two lines of cache, four bytes for each of its [`COLUMNS`] columns.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Step(pub(super) [[u8; 4]; COLUMNS]);

/// Rows that are multiplied with a panel before the next one: few enough that they stay in the second cache.
const ROWS_AT_ONCE: usize = 120;

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
    kernel: Kernel,
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
            kernel,
        };
        match kernel.run {
            Run::F32(_) => weights.fill_f32(matrix),
            Run::Int8(_) => weights.fill_int8(matrix)?,
        }
        Some(weights)
    }

    fn fill_f32(&mut self, matrix: &[f32]) {
        self.steps = self.inner;
        self.panels.reserve_exact(self.steps * self.outer.div_ceil(COLUMNS));
        for first in (0..self.outer).step_by(COLUMNS) {
            let width = COLUMNS.min(self.outer - first);
            self.panels.extend(matrix.chunks_exact(self.outer).map(|row| {
                let mut step = Step([[0; 4]; COLUMNS]);
                for (value, out) in row[first..first + width].iter().zip(&mut step.0) {
                    *out = value.to_ne_bytes();
                }
                step
            }));
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
                let mut step = Step([[0; 4]; COLUMNS]);
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
    pub(super) fn inner(&self) -> usize {
        self.inner
    }

    /// `N`.
    pub(super) fn outer(&self) -> usize {
        self.outer
    }

    /// `out = activations x self + bias`, both by rows, `[R, K]` and `[R, N]`.
    ///
    /// # Panics
    /// Where the lengths are no whole rows, or not the same number of them.
    pub(super) fn multiply(&self, activations: &[f32], out: &mut [f32]) {
        let rows = activations.len() / self.inner;
        assert!(activations.len() == rows * self.inner && out.len() == rows * self.outer, "whole rows");
        let inputs = activations.chunks(ROWS_AT_ONCE * self.inner);
        for (input, out) in inputs.zip(out.chunks_mut(ROWS_AT_ONCE * self.outer)) {
            match self.kernel.run {
                Run::F32(run) => self.multiply_f32(run, input, out),
                Run::Int8(run) => self.multiply_int8(run, input, out),
            }
        }
    }

    fn multiply_f32(&self, run: unsafe fn(&F32Tile), input: &[f32], out: &mut [f32]) {
        let rows = input.len() / self.inner;
        self.for_panels(out, rows, |panel, c, c_stride| {
            let start = &self.bias[panel * COLUMNS..][..COLUMNS];
            for first_step in (0..self.steps).step_by(self.kernel.steps) {
                let steps = self.kernel.steps.min(self.steps - first_step);
                let b = &self.panels[panel * self.steps + first_step..][..steps];
                for first in (0..rows).step_by(self.kernel.rows) {
                    let tile = F32Tile {
                        rows: self.kernel.rows.min(rows - first),
                        steps,
                        a: input[first * self.inner + first_step..].as_ptr(),
                        a_stride: self.inner,
                        b: b.as_ptr(),
                        c: c[first * c_stride..].as_mut_ptr(),
                        c_stride,
                        start: if first_step == 0 { start.as_ptr() } else { std::ptr::null() },
                    };
                    // SAFETY: the kernel was chosen by the processor's features. `a` has `rows` rows from `first` on with
                    // `inner` values each, of which `steps` from `first_step` on are read; `for_panels` gives `rows` rows.
                    unsafe { run(&tile) };
                }
            }
        });
    }

    fn multiply_int8(&self, run: unsafe fn(&Int8Tile), input: &[f32], out: &mut [f32]) {
        let rows = input.len() / self.inner;
        BYTES.with_borrow_mut(|(groups, row_scale)| {
            groups.resize(rows * self.steps, [0; 4]);
            row_scale.clear();
            let quantized = groups.chunks_exact_mut(self.steps).zip(input.chunks_exact(self.inner));
            row_scale.extend(quantized.map(|(groups, row)| quantize_row(row, groups.as_flattened_mut())));
            self.for_panels(out, rows, |panel, c, c_stride| {
                let columns = panel * COLUMNS..(panel + 1) * COLUMNS;
                let b = &self.panels[panel * self.steps..][..self.steps];
                for first in (0..rows).step_by(self.kernel.rows) {
                    let tile = Int8Tile {
                        rows: self.kernel.rows.min(rows - first),
                        steps: self.steps,
                        a: groups[first * self.steps..].as_ptr().cast(),
                        a_stride: self.steps,
                        b: b.as_ptr(),
                        c: c[first * c_stride..].as_mut_ptr(),
                        c_stride,
                        start: self.start[columns.clone()].as_ptr(),
                        row_scale: row_scale[first..].as_ptr(),
                        column_scale: self.column_scale[columns.clone()].as_ptr(),
                        bias: self.bias[columns.clone()].as_ptr(),
                    };
                    // SAFETY: the kernel was chosen by the processor's features. `a` has `rows` rows of `steps` groups from
                    // `first` on, as many row scales; `for_panels` gives `rows` rows; the columns' slices are COLUMNS long.
                    unsafe { run(&tile) };
                }
            });
        });
    }

    /// Calls `work` with each panel and where its columns go: `rows` rows of [`COLUMNS`], the given stride apart.
    fn for_panels(&self, out: &mut [f32], rows: usize, mut work: impl FnMut(usize, &mut [f32], usize)) {
        for (panel, first) in (0..self.outer).step_by(COLUMNS).enumerate() {
            let width = self.outer - first;
            if width >= COLUMNS {
                work(panel, &mut out[first..], self.outer);
                continue;
            }
            // The last columns' tile would reach into the next row.
            let mut aside = [0.0; ROWS_AT_ONCE * COLUMNS];
            work(panel, &mut aside, COLUMNS);
            for (from, to) in aside.chunks_exact(COLUMNS).zip(out.chunks_exact_mut(self.outer)).take(rows) {
                to[first..].copy_from_slice(&from[..width]);
            }
        }
    }
}

thread_local! {
    /// Activations as bytes, and their rows' scales: kept, because getting memory takes longer than filling it.
    static BYTES: RefCell<(Vec<[u8; 4]>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}
