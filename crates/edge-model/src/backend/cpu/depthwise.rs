//! Depthwise convolutions: each channel has one filter of its own. The zeros around a map are part of the operator, and so is a clamp of
//! the results, such as ReLU6.

use std::cell::RefCell;

use super::rows::{VectorWidth, divide_in_two, for_each_width, limited};
use super::storage::Storage;
use super::weighted_sums::{BLOCK, weighted_sums};
use super::windows::ConvWindows;

/// One filter per channel, `[C, height * width + 1]`; the last value of a filter is its bias.
pub(super) struct DepthwiseFilters {
    values: Storage<f32>,
    windows: ConvWindows,
    /// Smallest and largest result.
    limits: [f32; 2],
}

impl std::fmt::Debug for DepthwiseFilters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DepthwiseFilters({:?}, results in {:?})", self.windows, self.limits)
    }
}

impl DepthwiseFilters {
    /// Creates filters from their values, `[C, height * width + 1]`. Returns `None` if the number of values is another one, if a size or a
    /// stride is 0, or if the limits are not in order.
    pub(super) fn new(values: Storage<f32>, windows: ConvWindows, limits: [f32; 2]) -> Option<Self> {
        let ConvWindows { channels, size: [height, width], stride, .. } = windows;
        let is_whole = values.len() == channels * (height * width + 1) && height * width > 0;
        (is_whole && !stride.contains(&0) && limits[0] <= limits[1]).then_some(Self { values, windows, limits })
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

    /// Computes the convolution of one element of the batch. `input` is `[C, height, width]`; `map_size` is the height and width of a map;
    /// `out` is `[C, windows down, windows across]`.
    pub(super) fn run(&self, width: VectorWidth, input: &[f32], map_size: [usize; 2], out: &mut [f32]) {
        let [down, across] = self.windows.count(map_size);
        let filter_length = self.windows.size[0] * self.windows.size[1] + 1;
        SCRATCH.with_borrow_mut(|planes| {
            planes.prepare(&self.windows, map_size, down);
            let maps = input.chunks_exact(map_size[0] * map_size[1]).zip(out.chunks_exact_mut(down * across));
            for ((map, out), filter) in maps.zip(self.values.chunks_exact(filter_length)) {
                planes.load(width, &self.windows, map, map_size);
                convolve(width, planes, filter, self.limits, across, out);
            }
        });
    }
}

/// A map with zeros around it, divided into planes: pixels are in the same plane if their rows have the same remainder by the stride, and
/// their columns too. The pixels at the same place of all windows are then neighbours in one plane, and all windows are computed as one
/// long row. Where a row of windows ends, it holds a few numbers that are no window's.
#[derive(Default)]
struct PixelPlanes {
    values: Vec<f32>,
    /// Length of a row of a plane.
    row: usize,
    /// Length of a plane.
    plane: usize,
    /// Where the first window finds each pixel that it covers: an index of `values`, row by row of the window.
    first_window: Vec<usize>,
    /// The sums of some rows of windows.
    sums: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<PixelPlanes> = RefCell::default();
}

/// Largest number of sums that wait to be copied to their places, unless a row has more.
const MAX_WAITING: usize = 2048;

impl PixelPlanes {
    /// Sets the sizes and fills the planes with zeros. `down` is the number of windows in a column.
    fn prepare(&mut self, windows: &ConvWindows, map_size: [usize; 2], down: usize) {
        let [stride_down, stride_across] = windows.stride;
        let [height, width] = std::array::from_fn(|axis| windows.before[axis] + map_size[axis] + windows.after[axis]);
        self.row = width.div_ceil(stride_across);
        self.plane = height.div_ceil(stride_down) * self.row;
        let place = |(y, x): (usize, usize)| {
            let plane = y % stride_down * stride_across + x % stride_across;
            plane * self.plane + y / stride_down * self.row + x / stride_across
        };
        let pixels = (0..windows.size[0]).flat_map(|y| (0..windows.size[1]).map(move |x| (y, x)));
        self.first_window.clear();
        self.first_window.extend(pixels.map(place));
        let rows = (MAX_WAITING / self.row).clamp(1, down.max(1));
        self.sums.resize((rows * self.row).next_multiple_of(BLOCK), 0.0);
        self.values.clear();
        // The last block reads beyond the last plane.
        self.values.resize(stride_down * stride_across * self.plane + BLOCK, 0.0);
    }

    /// Copies a map between the zeros.
    fn load(&mut self, vectors: VectorWidth, windows: &ConvWindows, map: &[f32], [_, width]: [usize; 2]) {
        let ([top, left], [stride_down, stride_across]) = (windows.before, windows.stride);
        for (y, from) in map.chunks_exact(width).enumerate() {
            let y = top + y;
            let row = y % stride_down * stride_across * self.plane + y / stride_down * self.row;
            if stride_across == 1 {
                self.values[row + left..][..width].copy_from_slice(from);
                continue;
            }
            if stride_across == 2 {
                let (even, odd) = self.values[row..].split_at_mut(self.plane);
                let (even, odd) = (&mut even[left.div_ceil(2)..], &mut odd[left / 2..]);
                let [first, second] = if left % 2 == 0 { [even, odd] } else { [odd, even] };
                divide_in_two(vectors, from, &mut first[..width.div_ceil(2)], &mut second[..width / 2]);
                continue;
            }
            for remainder in 0..stride_across {
                // The first column of the map that lies in this plane, and its place there.
                let first = (remainder + stride_across - left % stride_across) % stride_across;
                let to = &mut self.values[row + remainder * self.plane + (left + first) / stride_across..];
                to.iter_mut().zip(from.iter().skip(first).step_by(stride_across)).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

/// Computes all windows of one map. `across` is the number of windows in a row.
fn convolve(
    width: VectorWidth,
    planes: &mut PixelPlanes,
    filter: &[f32],
    limits: [f32; 2],
    across: usize,
    out: &mut [f32],
) {
    let PixelPlanes { values, row, first_window, sums, .. } = planes;
    let (weights, bias) = filter.split_at(first_window.len());
    let rows = (sums.len() / *row).max(1);
    for (group, out) in out.chunks_mut(rows * across).enumerate() {
        let needed = (out.len() / across - 1) * *row + across;
        let sums = &mut sums[..needed.next_multiple_of(BLOCK)];
        weighted_sums(width, &values[group * rows * *row..], (first_window, weights), bias[0], sums);
        copy_limited(width, sums, *row, limits, across, out);
    }
}

for_each_width! {
    /// Copies the sums of the windows to their places and limits them. The sums of a row of windows are `row` numbers apart.
    fn copy_limited(sums: &[f32], row: usize, limits: [f32; 2], across: usize, out: &mut [f32]) {
        for (out, sums) in out.chunks_exact_mut(across).zip(sums.chunks(row)) {
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = limited(*sum, limits));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::rows::UNLIMITED;

    fn values(seed: usize, count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 131) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    /// The definition: for each window, the bias plus the products of weights and pixels; pixels outside the map are 0.
    fn defined(filters: &DepthwiseFilters, input: &[f32], [height, width]: [usize; 2]) -> Vec<f32> {
        let windows = filters.windows();
        let [down, across] = windows.count([height, width]);
        let size = windows.size[0] * windows.size[1];
        let mut out = Vec::new();
        for (map, filter) in input.chunks_exact(height * width).zip(filters.values().chunks_exact(size + 1)) {
            for (row, column) in (0..down).flat_map(|row| (0..across).map(move |column| (row, column))) {
                let mut sum = f64::from(filter[size]);
                for (i, weight) in filter[..size].iter().enumerate() {
                    let y = (row * windows.stride[0] + i / windows.size[1]).checked_sub(windows.before[0]);
                    let x = (column * windows.stride[1] + i % windows.size[1]).checked_sub(windows.before[1]);
                    if let (Some(y), Some(x)) = (y.filter(|y| *y < height), x.filter(|x| *x < width)) {
                        sum += f64::from(*weight) * f64::from(map[y * width + x]);
                    }
                }
                out.push((sum as f32).clamp(filters.limits[0], filters.limits[1]));
            }
        }
        out
    }

    #[test]
    fn every_window_is_the_bias_plus_the_weighted_pixels_on_every_processor() {
        for (channels, size, stride, before, after, map) in [
            (3, [3, 3], [1, 1], [1, 1], [1, 1], [9, 9]),
            (2, [3, 3], [2, 2], [0, 0], [1, 1], [16, 34]),
            (2, [5, 5], [2, 2], [1, 1], [2, 2], [18, 18]),
            (2, [5, 5], [2, 2], [2, 2], [2, 2], [17, 33]),
            (1, [5, 5], [1, 1], [2, 2], [2, 2], [1, 1]),
            (2, [1, 1], [1, 1], [0, 0], [0, 0], [4, 70]),
            (2, [2, 4], [3, 3], [1, 0], [0, 2], [11, 50]),
            (1, [3, 3], [1, 3], [2, 5], [0, 7], [5, 20]),
            (1, [3, 2], [1, 1], [0, 0], [0, 0], [3, 2]),
        ] {
            let windows = ConvWindows { channels, size, stride, before, after };
            let weights = values(1, channels * (size[0] * size[1] + 1));
            for limits in [UNLIMITED, [0.0, 0.5]] {
                let filters = DepthwiseFilters::new(weights.clone().into(), windows, limits).unwrap();
                let input = values(2, channels * map[0] * map[1]);
                let expected = defined(&filters, &input, map);
                for width in VectorWidth::available() {
                    let mut out = vec![f32::NAN; expected.len()];
                    filters.run(width, &input, map, &mut out);
                    for (found, expected) in out.iter().zip(&expected) {
                        assert!((found - expected).abs() < 1e-5, "{windows:?} {width:?}: {found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_smaller_map_after_a_larger_one_sees_zeros_around_it() {
        let windows = ConvWindows { channels: 1, size: [3, 3], stride: [1, 1], before: [1, 1], after: [1, 1] };
        let filters = DepthwiseFilters::new(values(1, 10).into(), windows, [-9.0, 9.0]).unwrap();
        for map in [[20, 40], [3, 5], [7, 17]] {
            let input = values(3, map[0] * map[1]);
            let mut out = vec![0.0; input.len()];
            filters.run(VectorWidth::best(), &input, map, &mut out);
            let expected = defined(&filters, &input, map);
            assert!(out.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{map:?}");
        }
    }

    #[test]
    fn unusable_filters_are_refused() {
        let windows = ConvWindows { channels: 2, size: [3, 3], stride: [1, 1], before: [0, 0], after: [0, 0] };
        let new = |count: usize, windows, limits| DepthwiseFilters::new(vec![0.0; count].into(), windows, limits);
        assert!(new(20, windows, [0.0, 6.0]).is_some());
        assert!(new(19, windows, [0.0, 6.0]).is_none());
        assert!(new(20, windows, [6.0, 0.0]).is_none() && new(20, windows, [f32::NAN, 0.0]).is_none());
        assert!(new(20, ConvWindows { stride: [1, 0], ..windows }, [0.0, 6.0]).is_none());
        assert!(new(2, ConvWindows { size: [0, 3], ..windows }, [0.0, 6.0]).is_none());
    }
}
