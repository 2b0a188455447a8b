//! Convolutions of many filters with whole windows, as products: the filters' rows times the windows' columns.

use std::cell::RefCell;

use super::product::{COLUMNS, F32Product, Rows, Step};
use super::storage::Storage;

/// Filters `[F, C * height * width + 1]`; the last number of each is its bias, which meets a one in every window.
pub(super) struct Filters {
    pub(super) values: Storage<f32>,
    pub(super) shape: Windows,
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

thread_local! {
    /// A panel of windows.
    static PANEL: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
}

impl Windows {
    /// Windows below and beside each other in a picture of that height and width; 0 where not even one fits.
    pub(super) fn count(&self, picture: [usize; 2]) -> [usize; 2] {
        std::array::from_fn(|axis| match picture[axis].checked_sub(self.size[axis]) {
            Some(rest) => rest / self.step[axis] + 1,
            None => 0,
        })
    }
}

impl Filters {
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
        let [below, beside] = self.shape.count(picture);
        let (windows, depth) = (below * beside, self.depth());
        let left = Rows { values: &self.values, stride: depth, width: depth };
        PANEL.with_borrow_mut(|panel| {
            panel.resize(depth, Step::ZERO);
            panel[depth - 1] = Step::of(&[1.0; COLUMNS]);
            for first in (0..windows).step_by(COLUMNS) {
                let columns = COLUMNS.min(windows - first);
                self.gather(input, picture, beside, first..first + columns, panel);
                product.multiply(left, panel, columns, &[], &mut out[first..], windows);
            }
        });
    }

    /// Writes windows as a panel's columns.
    fn gather(
        &self,
        input: &[f32],
        picture: [usize; 2],
        beside: usize,
        windows: std::ops::Range<usize>,
        panel: &mut [Step],
    ) {
        let Windows { channels, size, step } = self.shape;
        let start = windows.start;
        let mut window = start;
        // Windows of one row of windows are as far apart as the step.
        while window < windows.end {
            let (row, column) = (window / beside, window % beside);
            let count = (beside - column).min(windows.end - window);
            let place = window - start;
            let mut steps = panel.iter_mut();
            for channel in 0..channels {
                for y in 0..size[0] {
                    let line = (channel * picture[0] + row * step[0] + y) * picture[1] + column * step[1];
                    for x in 0..size[1] {
                        let Some(to) = steps.next() else { return };
                        let from = input[line + x..].iter().step_by(step[1]);
                        for (to, from) in to.0[place..place + count].iter_mut().zip(from) {
                            *to = from.to_ne_bytes();
                        }
                    }
                }
            }
            window += count;
        }
    }
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
        let Some(kernels) = Kernels::best(Precision::F32) else { return };
        // Windows that overlap, touch and leave gaps; panels that begin inside a row of windows; a window as large as the picture.
        for (filters, channels, size, step, picture) in [
            (99, 3, [7, 7], [6, 6], [49, 61]),
            (255, 1, [16, 16], [16, 16], [70, 64]),
            (16, 2, [3, 5], [1, 2], [12, 40]),
            (130, 1, [1, 1], [3, 2], [40, 5]),
            (17, 2, [9, 8], [2, 2], [9, 8]),
        ] {
            let shape = Windows { channels, size, step };
            let depth = channels * size[0] * size[1] + 1;
            let weights = values(1, filters * depth);
            let (input, [below, beside]) = (values(2, channels * picture[0] * picture[1]), shape.count(picture));
            let all = Filters { values: weights.clone().into(), shape };
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
    fn a_picture_smaller_than_a_window_has_none() {
        let shape = Windows { channels: 1, size: [4, 4], step: [1, 1] };
        assert_eq!((shape.count([3, 9]), shape.count([4, 9])), ([0, 6], [1, 6]));
    }
}
