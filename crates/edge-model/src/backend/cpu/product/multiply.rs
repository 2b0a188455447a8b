//! Divides a product into tiles and calls a kernel for each.

use super::kernel::{COLUMNS, F32Kernel, F32Tile, Int8Kernel, Int8Tile, PanelDifference, PanelStep};

/// Largest number of rows that are multiplied by one panel before the next panel is read. That many rows stay in the second-level cache.
pub(super) const MAX_BLOCK_ROWS: usize = 120;

/// Rows of a matrix, possibly with gaps: row `r` is the `width` values from `r * stride` on.
#[derive(Clone, Copy)]
pub(in crate::backend::cpu) struct MatrixRows<'a> {
    pub(in crate::backend::cpu) values: &'a [f32],
    pub(in crate::backend::cpu) stride: usize,
    pub(in crate::backend::cpu) width: usize,
}

impl MatrixRows<'_> {
    fn count(&self) -> usize {
        self.values.len().div_ceil(self.stride)
    }
}

impl F32Kernel {
    /// Computes `out = left x panels + bias`. `left` has `R` rows; the panels are those of a matrix `[left.width, outer]`; `bias` has a
    /// value for each column of all panels and may be empty. Rows of `out` start `out_stride` values apart.
    ///
    /// # Panics
    /// If one of the slices is too short.
    pub(in crate::backend::cpu) fn multiply(
        &self,
        left: MatrixRows<'_>,
        panels: &[PanelStep],
        outer: usize,
        bias: &[f32],
        out: &mut [f32],
        out_stride: usize,
    ) {
        let blocks = left.values.chunks(MAX_BLOCK_ROWS * left.stride);
        for (values, out) in blocks.zip(out.chunks_mut(MAX_BLOCK_ROWS * out_stride)) {
            let left = MatrixRows { values, ..left };
            let (rows, depth) = (left.count(), left.width);
            for_panels(out, (rows, outer), out_stride, |panel, c, c_stride| {
                let start = bias.get(panel * COLUMNS..).and_then(<[f32]>::first_chunk).unwrap_or(&[0.0; COLUMNS]);
                let next = panels.get((panel + 1) * depth..(panel + 2) * depth).unwrap_or_default();
                self.tiles(left, Panel::Stored(&panels[panel * depth..][..depth]), next, Some(start), (c, c_stride));
            });
        }
    }

    /// Computes `c = start + left x panel` for the `left.width` steps of one panel and its [`COLUMNS`] columns. Without `start`, the
    /// product is added to the values in `c`. Rows of `c` start `c_stride` values apart. `next` is prefetched.
    ///
    /// # Panics
    /// If one of the slices is too short.
    pub(super) fn tiles(
        &self,
        left: MatrixRows<'_>,
        mut panel: Panel<'_>,
        next: &[PanelStep],
        start: Option<&[f32; COLUMNS]>,
        (c, c_stride): (&mut [f32], usize),
    ) {
        let (rows, depth) = (left.count(), left.width);
        assert!((rows - 1) * left.stride + depth <= left.values.len(), "the last row is incomplete");
        assert!(panel.has_steps(depth), "the panel has another depth");
        assert!((rows - 1) * c_stride + COLUMNS <= c.len(), "the output is too short");
        // All tiles get about the same height, because tiles of few rows are slow: each addition waits for the one before it.
        let tiles = rows.div_ceil(self.rows);
        let tile_rows = rows.div_ceil(tiles);
        let mut prefetch = Prefetch::new(next, tiles * depth);
        for first_step in (0..depth).step_by(self.steps) {
            let steps = self.steps.min(depth - first_step);
            for first in (0..rows).step_by(tile_rows) {
                let (b, difference) = panel.read(first_step, first == 0);
                let (prefetch, prefetch_stride) = prefetch.take(steps).unwrap_or((b.cast(), 0));
                let tile = F32Tile {
                    rows: tile_rows.min(rows - first),
                    steps,
                    a: left.values[first * left.stride + first_step..].as_ptr(),
                    a_stride: left.stride,
                    b,
                    c: c[first * c_stride..].as_mut_ptr(),
                    c_stride,
                    start: start.filter(|_| first_step == 0).map_or(std::ptr::null(), |start| start.as_ptr()),
                    prefetch,
                    prefetch_stride,
                };
                // SAFETY: the processor has the kernel's features, because only such kernels are made. The assertions above prove that
                // `left`, `panel` and `c` are long enough.
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

/// The right side of the tiles of one panel: a packed panel, or the difference of two panels.
pub(super) enum Panel<'a> {
    Stored(&'a [PanelStep]),
    /// `of - less`, which the first tile writes to `to`.
    Difference {
        of: &'a [PanelStep],
        less: &'a [PanelStep],
        to: &'a mut [PanelStep],
    },
}

impl Panel<'_> {
    fn has_steps(&self, count: usize) -> bool {
        match self {
            Panel::Stored(steps) => steps.len() == count,
            Panel::Difference { of, less, to } => [of.len(), less.len(), to.len()] == [count; 3],
        }
    }

    /// Returns the panel steps that a tile reads, from `step` on. Of a difference, the first tile also gets the panel to subtract; later
    /// tiles read the result of the first.
    fn read(&mut self, step: usize, is_first: bool) -> (*const PanelStep, Option<PanelDifference>) {
        match self {
            Panel::Stored(steps) => (steps[step..].as_ptr(), None),
            Panel::Difference { of, less, to } if is_first => {
                let difference = PanelDifference { less: less[step..].as_ptr(), to: to[step..].as_mut_ptr() };
                (of[step..].as_ptr(), Some(difference))
            }
            Panel::Difference { to, .. } => (to[step..].as_ptr(), None),
        }
    }
}

/// Memory to prefetch while tiles are computed, divided evenly among the steps of the tiles.
struct Prefetch<'a> {
    rest: &'a [u8],
    bytes_per_step: usize,
}

/// Bytes of a cache line.
const CACHE_LINE_BYTES: usize = 64;

impl<'a> Prefetch<'a> {
    /// Divides `next` among `steps` steps. Prefetches nothing if a step would need more than one cache line: the processor then already
    /// reads memory as fast as it can.
    fn new(next: &'a [PanelStep], steps: usize) -> Self {
        let rest: &[u8] = bytemuck::cast_slice(next);
        let bytes_per_step = rest.len().div_ceil(steps.max(1));
        if bytes_per_step > CACHE_LINE_BYTES {
            Self { rest: &[], bytes_per_step: 0 }
        } else {
            Self { rest, bytes_per_step }
        }
    }

    /// Takes the memory that the next `steps` steps prefetch. Returns its address and the bytes for each step; `None` if nothing is left.
    fn take(&mut self, steps: usize) -> Option<(*const u8, usize)> {
        let (share, rest) =
            self.rest.split_at_checked(steps * self.bytes_per_step).filter(|(share, _)| !share.is_empty())?;
        self.rest = rest;
        Some((share.as_ptr(), self.bytes_per_step))
    }
}

/// The constant matrix of a product of bytes. `start`, `scale` and `bias` have a value for each column of all panels.
#[derive(Clone, Copy)]
pub(super) struct Int8Columns<'a> {
    pub(super) panels: &'a [PanelStep],
    /// Number of steps in each panel.
    pub(super) steps: usize,
    pub(super) outer: usize,
    /// Initial sums, which cancel the offset of the unsigned bytes; see [`Int8Tile`].
    pub(super) start: &'a [i32],
    pub(super) scale: &'a [f32],
    pub(super) bias: &'a [f32],
}

impl Int8Kernel {
    /// Computes `out = left x columns + bias`. `left` has `row_scale.len()` rows, at most [`MAX_BLOCK_ROWS`], each of `columns.steps`
    /// groups of four bytes.
    ///
    /// # Panics
    /// If one of the slices is too short.
    pub(super) fn multiply(&self, left: &[u32], row_scale: &[f32], columns: Int8Columns<'_>, out: &mut [f32]) {
        let (rows, steps) = (row_scale.len(), columns.steps);
        assert!(left.len() == rows * steps, "the rows are incomplete");
        for_panels(out, (rows, columns.outer), columns.outer, |panel, c, c_stride| {
            let all = panel * COLUMNS..(panel + 1) * COLUMNS;
            let b = &columns.panels[panel * steps..][..steps];
            let (start, scale, bias) =
                (&columns.start[all.clone()], &columns.scale[all.clone()], &columns.bias[all.clone()]);
            for first in (0..rows).step_by(self.rows) {
                let tile = Int8Tile {
                    rows: self.rows.min(rows - first),
                    steps,
                    a: left[first * steps..].as_ptr(),
                    a_stride: steps,
                    b: b.as_ptr(),
                    c: c[first * c_stride..].as_mut_ptr(),
                    c_stride,
                    start: start.as_ptr(),
                    row_scale: row_scale[first..].as_ptr(),
                    column_scale: scale.as_ptr(),
                    bias: bias.as_ptr(),
                };
                // SAFETY: the processor has the kernel's features, because only such kernels are made. `left` has `rows` rows, as
                // asserted above; `for_panels` provides an output of `rows` rows; `start`, `scale` and `bias` have COLUMNS values.
                unsafe { (self.run)(&tile) };
            }
        });
    }
}

/// Calls `work` with the number of each panel and the output of its tiles: `rows` rows of [`COLUMNS`] values, and their stride.
fn for_panels(
    out: &mut [f32],
    (rows, outer): (usize, usize),
    stride: usize,
    mut work: impl FnMut(usize, &mut [f32], usize),
) {
    assert!(rows <= MAX_BLOCK_ROWS && (rows - 1) * stride + outer <= out.len(), "the output is too short");
    for (panel, first) in (0..outer).step_by(COLUMNS).enumerate() {
        let width = outer - first;
        if width >= COLUMNS {
            work(panel, &mut out[first..], stride);
            continue;
        }
        // A tile of the last, narrower panel would write past its row, so it writes to a buffer first.
        let mut buffer = [0.0; MAX_BLOCK_ROWS * COLUMNS];
        work(panel, &mut buffer, COLUMNS);
        for (from, to) in buffer.chunks_exact(COLUMNS).zip(out.chunks_mut(stride)).take(rows) {
            to[first..first + width].copy_from_slice(&from[..width]);
        }
    }
}
