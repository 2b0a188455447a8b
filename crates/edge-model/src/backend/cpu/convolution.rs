//! Convolutions whose filters see all channels. Many filters are computed as a matrix product: rows of filters times columns of windows. A
//! few filters with windows of one pixel are computed as weighted sums of the channels.

use std::cell::RefCell;

use super::product::{COLUMNS, F32Kernel, MatrixRows, PanelStep};
use super::rows::{UNLIMITED, VectorWidth, add_scaled, limit_rows};
use super::storage::Storage;
use super::windows::ConvWindows;

/// Filters `[F, C * height * width + 1]`. The last value of a filter is its bias; the matching value of each window is one.
pub(super) struct ConvFilters {
    values: Storage<f32>,
    windows: ConvWindows,
    /// Smallest and largest result.
    limits: [f32; 2],
}

impl std::fmt::Debug for ConvFilters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConvFilters({} for {:?}, results in {:?})", self.count(), self.windows, self.limits)
    }
}

/// Fewest filters that are computed as a matrix product. With fewer, most of each tile would be empty.
pub(super) const MIN_PRODUCT_FILTERS: usize = 16;
/// Pixels that are summed at a time: few enough that those of several channels stay in the first-level cache.
const BLOCK_PIXELS: usize = 1024;

impl ConvFilters {
    /// Creates filters from their values, `[F, C * height * width + 1]`. Returns `None` if there is no filter, if the last filter is
    /// incomplete, if a stride is 0, or if the limits are not in order.
    pub(super) fn new(values: Storage<f32>, windows: ConvWindows, limits: [f32; 2]) -> Option<Self> {
        let filters = Self { values, windows, limits };
        let is_whole = filters.values.len().is_multiple_of(filters.depth()) && !filters.values.is_empty();
        (is_whole && !windows.stride.contains(&0) && limits[0] <= limits[1]).then_some(filters)
    }

    pub(super) fn values(&self) -> &Storage<f32> {
        &self.values
    }

    pub(super) fn windows(&self) -> ConvWindows {
        self.windows
    }

    pub(super) fn limits(&self) -> [f32; 2] {
        self.limits
    }

    /// Returns the number of values in a filter, `C * height * width + 1`.
    fn depth(&self) -> usize {
        self.windows.channels * self.windows.size[0] * self.windows.size[1] + 1
    }

    /// Returns `F`, the number of filters.
    pub(super) fn count(&self) -> usize {
        self.values.len() / self.depth()
    }

    /// Computes the convolution of one element of the batch. `input` is `[C, height, width]`; `input_size` is the height and width of the
    /// input; `out` is `[F, windows down, windows across]`.
    pub(super) fn run(&self, kernel: F32Kernel, input: &[f32], input_size: [usize; 2], out: &mut [f32]) {
        if self.windows.is_pixels() && self.count() < MIN_PRODUCT_FILTERS {
            return self.sum_channels(input, input_size[0] * input_size[1], out);
        }
        let [down, across] = self.windows.count(input_size);
        let (windows, depth) = (down * across, self.depth());
        let left = MatrixRows { values: &self.values, stride: depth, width: depth };
        SCRATCH.with_borrow_mut(|ConvScratch { panel, lines }| {
            lines.window_row = None;
            panel.resize(depth, PanelStep::ZERO);
            panel[depth - 1] = PanelStep::of(&[1.0; COLUMNS]);
            for first in (0..windows).step_by(COLUMNS) {
                let columns = COLUMNS.min(windows - first);
                if self.windows.is_pixels() {
                    for (channel, step) in input.chunks_exact(windows).zip(&mut *panel) {
                        copy(&channel[first..first + columns], &mut step.0);
                    }
                } else {
                    self.gather_windows(lines, input, input_size, (first..first + columns, across), panel);
                }
                kernel.multiply(left, panel, columns, &[], &mut out[first..], windows);
                if self.limits != UNLIMITED {
                    limit_rows(VectorWidth::best(), &mut out[first..], windows, columns, self.limits);
                }
            }
        });
    }

    /// Copies the input values of `windows` into the columns of `panel`. `across` is the number of windows in a row.
    fn gather_windows(
        &self,
        lines: &mut InputLines,
        input: &[f32],
        input_size: [usize; 2],
        (windows, across): (std::ops::Range<usize>, usize),
        panel: &mut [PanelStep],
    ) {
        let mut window = windows.start;
        // Windows of the same row share the lines of the input.
        while window < windows.end {
            let (row, column) = (window / across, window % across);
            let count = (across - column).min(windows.end - window);
            lines.load(self.windows, input, input_size, row);
            self.gather(lines, column..column + count, panel, window - windows.start);
            window += count;
        }
    }

    /// Computes each pixel of `out` as a weighted sum of the channels.
    fn sum_channels(&self, input: &[f32], pixels: usize, out: &mut [f32]) {
        let width = VectorWidth::best();
        for first in (0..pixels).step_by(BLOCK_PIXELS) {
            let block = first..pixels.min(first + BLOCK_PIXELS);
            for (filter, out) in self.values.chunks_exact(self.depth()).zip(out.chunks_exact_mut(pixels)) {
                let (weights, bias) = filter.split_at(self.windows.channels);
                let out = &mut out[block.clone()];
                out.fill(bias[0]);
                for (weight, channel) in weights.iter().zip(input.chunks_exact(pixels)) {
                    add_scaled(width, &channel[block.clone()], *weight, out);
                }
                let length = out.len();
                limit_rows(width, out, length, length, self.limits);
            }
        }
    }

    /// Copies the input values of windows into `panel`, one window into each column, from `column` on. `lines` holds the input lines of one
    /// row of windows; `windows` is a range of that row.
    fn gather(&self, lines: &InputLines, windows: std::ops::Range<usize>, panel: &mut [PanelStep], column: usize) {
        let (width, stride) = (self.windows.size[1], self.windows.stride[1]);
        for (line, steps) in lines.values.chunks_exact(lines.length * stride).zip(panel.chunks_exact_mut(width)) {
            for (x, to) in steps.iter_mut().enumerate() {
                // Neighbouring windows read values that are `stride` columns apart. `InputLines` stores these values next to each other.
                let from = &line[x % stride * lines.length + x / stride..][windows.clone()];
                copy(from, &mut to.0[column..]);
            }
        }
    }
}

/// Copies values into the first places of a step of a panel.
fn copy(values: &[f32], step: &mut [[u8; 4]]) {
    let values: &[[u8; 4]] = bytemuck::cast_slice(values);
    // A whole step has a constant length, so that it is copied without calling a function.
    match (<&[_; COLUMNS]>::try_from(values), <&mut [_; COLUMNS]>::try_from(&mut *step)) {
        (Ok(values), Ok(step)) => *step = *values,
        _ => step[..values.len()].copy_from_slice(values),
    }
}

/// The lines of the input that one row of windows covers. Each line is sorted by `column % stride`. Values that are `stride`
/// columns apart, as neighbouring windows read them, are therefore adjacent.
#[derive(Default)]
struct InputLines {
    /// Number of the row of windows; `None` if nothing is loaded.
    window_row: Option<usize>,
    /// `[C, height of a window, stride, length]`
    values: Vec<f32>,
    /// The largest number of columns of a line with the same `column % stride`.
    length: usize,
}

impl InputLines {
    fn load(&mut self, windows: ConvWindows, input: &[f32], input_size: [usize; 2], row: usize) {
        if self.window_row.replace(row) == Some(row) {
            return;
        }
        let (stride, left) = (windows.stride[1], windows.before[1]);
        let [height, width] = input_size;
        self.length = (left + width + windows.after[1]).div_ceil(stride);
        let length = windows.channels * windows.size[0] * stride * self.length;
        if windows.before != [0; 2] || windows.after != [0; 2] {
            // Other convolutions use the buffer too, and the places of zeros differ from row to row.
            self.values.clear();
        }
        self.values.resize(length, 0.0);
        let top = row * windows.stride[0];
        let lines = self.values.chunks_exact_mut(stride * self.length);
        for (at, line) in lines.enumerate() {
            let (channel, y) = (at / windows.size[0], at % windows.size[0]);
            let Some(row) = (top + y).checked_sub(windows.before[0]).filter(|row| *row < height) else { continue };
            let from = &input[(channel * height + row) * width..][..width];
            for (remainder, to) in line.chunks_exact_mut(self.length).enumerate() {
                // The first pixel of the map whose column, counted from the first column of zeros, has this remainder.
                let first = left.saturating_sub(remainder).div_ceil(stride);
                let skipped = first * stride + remainder - left;
                let to = &mut to[first..];
                to.iter_mut().zip(from.iter().skip(skipped).step_by(stride)).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

/// Buffers of a convolution, reused from run to run because allocating them takes longer than filling them.
#[derive(Default)]
struct ConvScratch {
    /// A panel whose columns are windows.
    panel: Vec<PanelStep>,
    lines: InputLines,
}

thread_local! {
    static SCRATCH: RefCell<ConvScratch> = RefCell::default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::product::ProductKernels;
    use crate::backend::precision::Precision;

    fn values(seed: usize, count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    #[test]
    fn filters_see_every_window() {
        let Some(kernels) = ProductKernels::or_skip(Precision::F32, "backend::cpu::convolution") else { return };
        // Windows that overlap, touch and leave gaps; panels that start inside a row of windows; a window as large as the input.
        for (filters, channels, size, stride, [before, after], input_size) in [
            (99, 3, [7, 7], [6, 6], [[0; 2]; 2], [49, 61]),
            (255, 1, [16, 16], [16, 16], [[0; 2]; 2], [70, 64]),
            (16, 1, [16, 1], [16, 1], [[0; 2]; 2], [70, 64]),
            (16, 2, [3, 5], [1, 2], [[0; 2]; 2], [12, 40]),
            (130, 1, [1, 1], [3, 2], [[0; 2]; 2], [40, 5]),
            (17, 2, [9, 8], [2, 2], [[0; 2]; 2], [9, 8]),
            (3, 3, [1, 1], [1, 1], [[0; 2]; 2], [40, 33]),
            (16, 3, [1, 1], [1, 1], [[0; 2]; 2], [7, 11]),
            // Zeros around the maps.
            (32, 3, [3, 3], [2, 2], [[0, 0], [1, 1]], [28, 30]),
            (32, 3, [3, 3], [2, 2], [[1, 1], [1, 1]], [29, 37]),
            (16, 2, [5, 7], [1, 3], [[4, 5], [2, 6]], [9, 11]),
            (16, 1, [1, 1], [1, 1], [[1, 0], [0, 1]], [3, 4]),
        ] {
            let windows = ConvWindows { channels, size, stride, before, after };
            let depth = channels * size[0] * size[1] + 1;
            let weights = values(1, filters * depth);
            let (input, [down, across]) =
                (values(2, channels * input_size[0] * input_size[1]), windows.count(input_size));
            let run = |limits| {
                let all = ConvFilters::new(weights.clone().into(), windows, limits).unwrap();
                assert_eq!(all.count(), filters);
                let mut out = vec![f32::NAN; filters * down * across];
                all.run(kernels.f32(), &input, input_size, &mut out);
                out
            };
            let out = run(UNLIMITED);
            let limited: Vec<f32> = out.iter().map(|v| v.clamp(-0.1, 0.3)).collect();
            assert_eq!(run([-0.1, 0.3]), limited);
            for (at, found) in out.iter().enumerate() {
                let (filter, row, column) = (at / (down * across), at / across % down, at % across);
                let filter = &weights[filter * depth..(filter + 1) * depth];
                let mut sum = f64::from(filter[depth - 1]);
                for (k, weight) in filter[..depth - 1].iter().enumerate() {
                    let (c, y, x) = (k / (size[0] * size[1]), k / size[1] % size[0], k % size[1]);
                    let place = [row * stride[0] + y, column * stride[1] + x];
                    let [y, x] = std::array::from_fn(|axis| place[axis].wrapping_sub(before[axis]));
                    if y < input_size[0] && x < input_size[1] {
                        let at = (c * input_size[0] + y) * input_size[1] + x;
                        sum += f64::from(*weight) * f64::from(input[at]);
                    }
                }
                assert!(
                    (f64::from(*found) - sum).abs() < 2e-5,
                    "{filters} filters for {windows:?} at {at}: {found} for {sum}"
                );
            }
        }
    }

    #[test]
    fn filters_that_are_cut_off_are_none() {
        let windows = ConvWindows { channels: 2, size: [3, 3], stride: [1, 1], before: [0; 2], after: [0; 2] };
        let of = |count: usize, windows| {
            ConvFilters::new(vec![0.0; count].into(), windows, UNLIMITED).map(|filters| filters.count())
        };
        assert_eq!([of(38, windows), of(37, windows), of(0, windows)], [Some(2), None, None]);
        assert!(of(38, ConvWindows { stride: [1, 0], ..windows }).is_none());
        assert!(ConvFilters::new(vec![0.0; 38].into(), windows, [1.0, 0.0]).is_none());
    }
}
