//! Which tiles make up a product, in which order.

use super::kernel::{COLUMNS, Difference, F32Tile, Int8Tile};

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
    /// The same with a difference on the right; `None` where making it first is as fast.
    pub(super) run_difference: Option<unsafe fn(&F32Tile, Difference)>,
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
            for_panels(out, (rows, outer), out_stride, |panel, c, c_stride| {
                let start = bias.get(panel * COLUMNS..).and_then(<[f32]>::first_chunk).unwrap_or(&[0.0; COLUMNS]);
                let next = panels.get((panel + 1) * depth..(panel + 2) * depth).unwrap_or_default();
                self.tiles(left, Panel::Kept(&panels[panel * depth..][..depth]), next, Some(start), (c, c_stride));
            });
        }
    }

    /// `c = start + left x panel` for the `left.width` steps of one panel and each of its [`COLUMNS`]; without `start`, added to what is in
    /// `c`. Rows of `c` begin `c_stride` apart. `next` is what will be read afterwards.
    ///
    /// # Panics
    /// Where one of them is too short for that.
    pub(super) fn tiles(
        &self,
        left: Rows<'_>,
        mut panel: Panel<'_>,
        next: &[Step],
        start: Option<&[f32; COLUMNS]>,
        (c, c_stride): (&mut [f32], usize),
    ) {
        let (rows, depth) = (left.count(), left.width);
        assert!((rows - 1) * left.stride + depth <= left.values.len(), "the last row is cut off");
        assert!(panel.has_steps(depth), "a panel of another depth");
        assert!((rows - 1) * c_stride + COLUMNS <= c.len(), "the product does not fit");
        // Of about the same size: a tile of few rows waits for its own sums.
        let tiles = rows.div_ceil(self.rows);
        let tile_rows = rows.div_ceil(tiles);
        let mut ahead = Ahead::new(next, tiles * depth);
        for first_step in (0..depth).step_by(self.steps) {
            let steps = self.steps.min(depth - first_step);
            for first in (0..rows).step_by(tile_rows) {
                let (b, difference) = panel.read(first_step, first == 0);
                let (ahead, ahead_step) = ahead.take(steps).unwrap_or((b.cast(), 0));
                let tile = F32Tile {
                    rows: tile_rows.min(rows - first),
                    steps,
                    a: left.values[first * left.stride + first_step..].as_ptr(),
                    a_stride: left.stride,
                    b,
                    c: c[first * c_stride..].as_mut_ptr(),
                    c_stride,
                    start: start.filter(|_| first_step == 0).map_or(std::ptr::null(), |start| start.as_ptr()),
                    ahead,
                    ahead_step,
                };
                // SAFETY: the kernel was chosen by the processor's features, and both sides and `c` are as long as was asserted
                // above.
                unsafe {
                    match (difference, self.run_difference) {
                        (None, _) => (self.run)(&tile),
                        (Some(difference), Some(run)) => run(&tile, difference),
                        (Some(_), None) => unreachable!("a kernel without differences"),
                    }
                }
            }
        }
    }
}

/// The right side of tiles.
pub(super) enum Panel<'a> {
    Kept(&'a [Step]),
    /// `of - less`, which is to be left in `to`.
    Difference {
        of: &'a [Step],
        less: &'a [Step],
        to: &'a mut [Step],
    },
}

impl Panel<'_> {
    fn has_steps(&self, count: usize) -> bool {
        match self {
            Panel::Kept(steps) => steps.len() == count,
            Panel::Difference { of, less, to } => [of.len(), less.len(), to.len()] == [count; 3],
        }
    }

    /// What a tile reads from a step on. The first one makes the difference.
    fn read(&mut self, step: usize, is_first: bool) -> (*const Step, Option<Difference>) {
        match self {
            Panel::Kept(steps) => (steps[step..].as_ptr(), None),
            Panel::Difference { of, less, to } if is_first => {
                let difference = Difference { less: less[step..].as_ptr(), to: to[step..].as_mut_ptr() };
                (of[step..].as_ptr(), Some(difference))
            }
            Panel::Difference { to, .. } => (to[step..].as_ptr(), None),
        }
    }
}

/// What will be read next, divided among the steps of what is done before.
struct Ahead<'a> {
    rest: &'a [u8],
    /// Bytes for each step.
    step: usize,
}

/// Bytes that come into the cache together.
const LINE: usize = 64;

impl<'a> Ahead<'a> {
    /// For so many steps in all. Nothing where these are too few: what is read fast comes by itself as fast as it can.
    fn new(next: &'a [Step], steps: usize) -> Self {
        let bytes = size_of_val(next);
        // SAFETY: a step is made of bytes alone.
        let all = unsafe { std::slice::from_raw_parts(next.as_ptr().cast::<u8>(), bytes) };
        let step = bytes.div_ceil(steps.max(1));
        if step > LINE { Self { rest: &[], step: 0 } } else { Self { rest: all, step } }
    }

    /// The share of so many steps: where it begins, and how many bytes belong to each; `None` where nothing is left.
    fn take(&mut self, steps: usize) -> Option<(*const u8, usize)> {
        let (share, rest) = self.rest.split_at_checked(steps * self.step).filter(|(share, _)| !share.is_empty())?;
        self.rest = rest;
        Some((share.as_ptr(), self.step))
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
