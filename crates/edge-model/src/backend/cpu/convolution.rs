//! Convolutions with whole windows: of many filters as products, the filters' rows times the windows' columns; of few filters that see one
//! pixel each as sums of channels.

use std::cell::RefCell;

use super::product::{COLUMNS, F32Product, Rows, Step};
use super::rows::{Width, add_scaled};
use super::storage::Storage;

/// Filters `[F, C * height * width + 1]`; the last number of each is its bias, which meets a one in every window.
pub(super) struct Filters {
    values: Storage<f32>,
    shape: Windows,
}

/// Which windows the filters see: all that lie inside the picture, `step` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    pub(super) channels: usize,
    /// Height and width.
    pub(super) size: [usize; 2],
    pub(super) step: [usize; 2],
}

impl std::fmt::Debug for Filters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filters({} for {:?})", self.values.len() / self.depth(), self.shape)
    }
}

/// Fewer filters fill no tile.
pub(super) const FEW: usize = 16;
/// Pixels of one channel that stay in the first cache with those of some others.
const PIXELS_AT_ONCE: usize = 1024;

impl Windows {
    /// Whether each window is a pixel, and each pixel a window.
    pub(super) fn is_pixels(&self) -> bool {
        (self.size, self.step) == ([1, 1], [1, 1])
    }

    /// Windows below and beside each other in a picture of that height and width; 0 where not even one fits.
    pub(super) fn count(&self, picture: [usize; 2]) -> [usize; 2] {
        std::array::from_fn(|axis| match picture[axis].checked_sub(self.size[axis]) {
            Some(rest) => rest / self.step[axis] + 1,
            None => 0,
        })
    }
}

impl Filters {
    /// `None` where the numbers are no whole filters of that shape, or windows are no distance apart.
    pub(super) fn new(values: Storage<f32>, shape: Windows) -> Option<Self> {
        let filters = Self { values, shape };
        let is_whole = filters.values.len().is_multiple_of(filters.depth()) && !filters.values.is_empty();
        (is_whole && !shape.step.contains(&0)).then_some(filters)
    }

    pub(super) fn values(&self) -> &Storage<f32> {
        &self.values
    }

    pub(super) fn shape(&self) -> Windows {
        self.shape
    }

    /// `C * height * width + 1`.
    fn depth(&self) -> usize {
        self.shape.channels * self.shape.size[0] * self.shape.size[1] + 1
    }

    /// `F`.
    pub(super) fn count(&self) -> usize {
        self.values.len() / self.depth()
    }

    /// One example: `input` is `[C, height, width]`, `out` `[F, windows below, windows beside each other]`.
    pub(super) fn run(&self, product: F32Product, input: &[f32], picture: [usize; 2], out: &mut [f32]) {
        if self.shape.is_pixels() && self.count() < FEW {
            return self.mix(input, picture[0] * picture[1], out);
        }
        let [below, beside] = self.shape.count(picture);
        let (windows, depth) = (below * beside, self.depth());
        let left = Rows { values: &self.values, stride: depth, width: depth };
        SCRATCH.with_borrow_mut(|Scratch { panel, lines }| {
            lines.row = None;
            panel.resize(depth, Step::ZERO);
            panel[depth - 1] = Step::of(&[1.0; COLUMNS]);
            for first in (0..windows).step_by(COLUMNS) {
                let columns = COLUMNS.min(windows - first);
                let mut window = first;
                // Windows of one row of windows are in the same lines of the picture.
                while window < first + columns {
                    let (row, column) = (window / beside, window % beside);
                    let count = (beside - column).min(first + columns - window);
                    lines.take(self.shape, input, picture, row);
                    self.gather(lines, column..column + count, &mut panel[..depth - 1], window - first);
                    window += count;
                }
                product.multiply(left, panel, columns, &[], &mut out[first..], windows);
            }
        });
    }

    /// Every pixel for itself: sums of channels.
    fn mix(&self, input: &[f32], pixels: usize, out: &mut [f32]) {
        let width = Width::best();
        for first in (0..pixels).step_by(PIXELS_AT_ONCE) {
            let part = first..pixels.min(first + PIXELS_AT_ONCE);
            for (filter, out) in self.values.chunks_exact(self.depth()).zip(out.chunks_exact_mut(pixels)) {
                let (weights, bias) = filter.split_at(self.shape.channels);
                let out = &mut out[part.clone()];
                out.fill(bias[0]);
                for (weight, channel) in weights.iter().zip(input.chunks_exact(pixels)) {
                    add_scaled(width, &channel[part.clone()], *weight, out);
                }
            }
        }
    }

    /// Writes windows of a row of windows as a panel's columns from `place` on.
    fn gather(&self, lines: &Lines, windows: std::ops::Range<usize>, panel: &mut [Step], place: usize) {
        let (width, step) = (self.shape.size[1], self.shape.step[1]);
        for (line, steps) in lines.values.chunks_exact(lines.length * step).zip(panel.chunks_exact_mut(width)) {
            for (x, to) in steps.iter_mut().enumerate() {
                // The windows' values at x are `step` apart in the picture, so beside each other in the line of their rest.
                let from = &line[x % step * lines.length + x / step..][windows.clone()];
                for (to, from) in to.0[place..].iter_mut().zip(from) {
                    *to = from.to_ne_bytes();
                }
            }
        }
    }
}

/// The lines of the picture that a row of windows lies in, each sorted by the rest of the column's number by the step.
#[derive(Default)]
struct Lines {
    /// Which row of windows.
    row: Option<usize>,
    /// `[C, height of a window, step, length]`
    values: Vec<f32>,
    /// Columns of one rest, at most.
    length: usize,
}

impl Lines {
    fn take(&mut self, shape: Windows, input: &[f32], picture: [usize; 2], row: usize) {
        if self.row.replace(row) == Some(row) {
            return;
        }
        let step = shape.step[1];
        self.length = picture[1].div_ceil(step);
        self.values.resize(shape.channels * shape.size[0] * step * self.length, 0.0);
        let mut lines = self.values.chunks_exact_mut(step * self.length);
        for channel in 0..shape.channels {
            for y in 0..shape.size[0] {
                let Some(line) = lines.next() else { return };
                let from = &input[(channel * picture[0] + row * shape.step[0] + y) * picture[1]..][..picture[1]];
                for (rest, to) in line.chunks_exact_mut(self.length).enumerate() {
                    to.iter_mut().zip(from.iter().skip(rest).step_by(step)).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

#[derive(Default)]
struct Scratch {
    /// A panel of windows.
    panel: Vec<Step>,
    lines: Lines,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precision;
    use crate::backend::cpu::product::Kernels;

    fn values(seed: usize, count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    #[test]
    fn filters_see_every_window_inside_the_picture() {
        let Some(kernels) = Kernels::or_skip(Precision::F32, "backend::cpu::convolution") else { return };
        // Windows that overlap, touch and leave gaps; panels that begin inside a row of windows; a window as large as the picture.
        for (filters, channels, size, step, picture) in [
            (99, 3, [7, 7], [6, 6], [49, 61]),
            (255, 1, [16, 16], [16, 16], [70, 64]),
            (16, 2, [3, 5], [1, 2], [12, 40]),
            (130, 1, [1, 1], [3, 2], [40, 5]),
            (17, 2, [9, 8], [2, 2], [9, 8]),
            (3, 3, [1, 1], [1, 1], [40, 33]),
            (16, 3, [1, 1], [1, 1], [7, 11]),
        ] {
            let shape = Windows { channels, size, step };
            let depth = channels * size[0] * size[1] + 1;
            let weights = values(1, filters * depth);
            let (input, [below, beside]) = (values(2, channels * picture[0] * picture[1]), shape.count(picture));
            let all = Filters::new(weights.clone().into(), shape).unwrap();
            assert_eq!(all.count(), filters);
            let mut out = vec![f32::NAN; filters * below * beside];
            all.run(kernels.f32(), &input, picture, &mut out);
            for (at, found) in out.iter().enumerate() {
                let (filter, row, column) = (at / (below * beside), at / beside % below, at % beside);
                let filter = &weights[filter * depth..(filter + 1) * depth];
                let mut sum = f64::from(filter[depth - 1]);
                for (k, weight) in filter[..depth - 1].iter().enumerate() {
                    let (c, y, x) = (k / (size[0] * size[1]), k / size[1] % size[0], k % size[1]);
                    let at = (c * picture[0] + row * step[0] + y) * picture[1] + column * step[1] + x;
                    sum += f64::from(*weight) * f64::from(input[at]);
                }
                assert!((f64::from(*found) - sum).abs() < 2e-5, "{all:?} at {at}: {found} for {sum}");
            }
        }
    }

    #[test]
    fn filters_that_are_cut_off_are_none() {
        let shape = Windows { channels: 2, size: [3, 3], step: [1, 1] };
        let of = |count: usize, shape| Filters::new(vec![0.0; count].into(), shape).map(|filters| filters.count());
        assert_eq!([of(38, shape), of(37, shape), of(0, shape)], [Some(2), None, None]);
        assert!(of(38, Windows { step: [1, 0], ..shape }).is_none());
    }

    #[test]
    fn a_picture_smaller_than_a_window_has_none() {
        let shape = Windows { channels: 1, size: [4, 4], step: [1, 1] };
        assert_eq!((shape.count([3, 9]), shape.count([4, 9])), ([0, 6], [1, 6]));
    }
}
