//! Which tiles make up a product, in which order.

use super::kernel::{COLUMNS, F32Tile, Int8Tile};

/// What a kernel reads of a panel at once: two lines of cache, four bytes for each of its [`COLUMNS`] columns.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in super::super) struct Step(pub(in super::super) [[u8; 4]; COLUMNS]);

impl Step {
    pub(in super::super) const ZERO: Self = Self([[0; 4]; COLUMNS]);

    /// At most [`COLUMNS`] values, zeros behind them.
    pub(in super::super) fn of(values: &[f32]) -> Self {
        let mut step = Self::ZERO;
        step.0.iter_mut().zip(values).for_each(|(out, value)| *out = value.to_ne_bytes());
        step
    }
}

/// Rows that are multiplied with a panel before the next one: few enough that they stay in the second cache.
pub(super) const ROWS_AT_ONCE: usize = 120;

/// A kernel for 32-bit floats with its measures.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct F32Product {
    /// Of a full tile.
    pub(super) rows: usize,
    /// Steps after which the panel's part in use would leave the nearest cache that can hold it.
    pub(super) steps: usize,
    pub(super) run: unsafe fn(&F32Tile),
}

/// Rows of numbers, some of them apart: row `r` is the `width` values from `r * stride` on.
#[derive(Clone, Copy)]
pub(in super::super) struct Rows<'a> {
    pub(in super::super) values: &'a [f32],
    pub(in super::super) stride: usize,
    pub(in super::super) width: usize,
}

impl Rows<'_> {
    fn count(&self) -> usize {
        self.values.len().div_ceil(self.stride)
    }
}

impl F32Product {
    /// `out = left x panels + bias`: `left` has `R` rows, the panels are those of a matrix `[left.width, outer]`, `bias` has a value for
    /// each column of all panels and may be empty. Rows of `out` begin `out_stride` apart.
    ///
    /// # Panics
    /// Where one of them is too short for that.
    pub(in super::super) fn multiply(
        &self,
        left: Rows<'_>,
        panels: &[Step],
        outer: usize,
        bias: &[f32],
        out: &mut [f32],
        out_stride: usize,
    ) {
        let blocks = left.values.chunks(ROWS_AT_ONCE * left.stride);
        for (values, out) in blocks.zip(out.chunks_mut(ROWS_AT_ONCE * out_stride)) {
            let left = Rows { values, ..left };
            let (rows, depth) = (left.count(), left.width);
            assert!((rows - 1) * left.stride + depth <= values.len(), "the last row is cut off");
            for_panels(out, (rows, outer), out_stride, |panel, c, c_stride| {
                let start = bias.get(panel * COLUMNS..(panel + 1) * COLUMNS).unwrap_or(&[0.0; COLUMNS]);
                for first_step in (0..depth).step_by(self.steps) {
                    let steps = self.steps.min(depth - first_step);
                    let b = &panels[panel * depth + first_step..][..steps];
                    for first in (0..rows).step_by(self.rows) {
                        let tile = F32Tile {
                            rows: self.rows.min(rows - first),
                            steps,
                            a: values[first * left.stride + first_step..].as_ptr(),
                            a_stride: left.stride,
                            b: b.as_ptr(),
                            c: c[first * c_stride..].as_mut_ptr(),
                            c_stride,
                            start: if first_step == 0 { start.as_ptr() } else { std::ptr::null() },
                        };
                        // SAFETY: the kernel was chosen by the processor's features. The last row's `depth` values end inside
                        // `values`, as asserted above, and all others' do; `for_panels` gives room for `rows` rows.
                        unsafe { (self.run)(&tile) };
                    }
                }
            });
        }
    }
}

/// A kernel for bytes with its measures.
#[derive(Clone, Copy)]
pub(super) struct Int8Product {
    /// Of a full tile.
    pub(super) rows: usize,
    pub(super) run: unsafe fn(&Int8Tile),
}

/// The matrix's side of a product of bytes; everything but the panels has a value for each column of all panels.
#[derive(Clone, Copy)]
pub(super) struct Int8Columns<'a> {
    pub(super) panels: &'a [Step],
    /// Of a panel.
    pub(super) steps: usize,
    pub(super) outer: usize,
    /// See [`Int8Tile`].
    pub(super) start: &'a [i32],
    pub(super) scale: &'a [f32],
    pub(super) bias: &'a [f32],
}

impl Int8Product {
    /// `out = left x columns + bias`: `left` has `row_scale.len()` rows of `columns.steps` groups, at most [`ROWS_AT_ONCE`].
    ///
    /// # Panics
    /// Where one of them is too short for that.
    pub(super) fn multiply(&self, left: &[[u8; 4]], row_scale: &[f32], columns: Int8Columns<'_>, out: &mut [f32]) {
        let (rows, steps) = (row_scale.len(), columns.steps);
        assert!(left.len() == rows * steps, "whole rows");
        for_panels(out, (rows, columns.outer), columns.outer, |panel, c, c_stride| {
            let all = panel * COLUMNS..(panel + 1) * COLUMNS;
            let b = &columns.panels[panel * steps..][..steps];
            let (start, scale, bias) =
                (&columns.start[all.clone()], &columns.scale[all.clone()], &columns.bias[all.clone()]);
            for first in (0..rows).step_by(self.rows) {
                let tile = Int8Tile {
                    rows: self.rows.min(rows - first),
                    steps,
                    a: left[first * steps..].as_ptr().cast(),
                    a_stride: steps,
                    b: b.as_ptr(),
                    c: c[first * c_stride..].as_mut_ptr(),
                    c_stride,
                    start: start.as_ptr(),
                    row_scale: row_scale[first..].as_ptr(),
                    column_scale: scale.as_ptr(),
                    bias: bias.as_ptr(),
                };
                // SAFETY: the kernel was chosen by the processor's features. `left` has `rows` rows, as asserted above;
                // `for_panels` gives room for as many; what belongs to the columns was cut to COLUMNS values.
                unsafe { (self.run)(&tile) };
            }
        });
    }
}

/// Calls `work` with each panel's number and where its tiles go: room for `rows` rows of [`COLUMNS`] values, the given stride apart.
fn for_panels(
    out: &mut [f32],
    (rows, outer): (usize, usize),
    stride: usize,
    mut work: impl FnMut(usize, &mut [f32], usize),
) {
    assert!(rows <= ROWS_AT_ONCE && (rows - 1) * stride + outer <= out.len(), "the product does not fit");
    for (panel, first) in (0..outer).step_by(COLUMNS).enumerate() {
        let width = outer - first;
        if width >= COLUMNS {
            work(panel, &mut out[first..], stride);
            continue;
        }
        // The last columns' tile would reach into what is behind them.
        let mut aside = [0.0; ROWS_AT_ONCE * COLUMNS];
        work(panel, &mut aside, COLUMNS);
        for (from, to) in aside.chunks_exact(COLUMNS).zip(out.chunks_mut(stride)).take(rows) {
            to[first..first + width].copy_from_slice(&from[..width]);
        }
    }
}
