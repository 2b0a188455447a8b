//! The windows of a convolution.

use serde::{Deserialize, Serialize};

/// The windows of a convolution: all that lie inside the maps and the zeros around them, `stride` pixels apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ConvWindows {
    /// Number of channels of the input.
    pub(super) channels: usize,
    /// Height and width of a window, in pixels.
    pub(super) size: [usize; 2],
    /// Distance of windows, down and across, in pixels.
    pub(super) stride: [usize; 2],
    /// Rows of zeros above, columns of zeros to the left.
    pub(super) before: [usize; 2],
    /// Rows of zeros below, columns of zeros to the right.
    pub(super) after: [usize; 2],
}

impl ConvWindows {
    /// Returns whether each pixel of a map is one window: size and stride are 1, and there are no zeros around the map.
    pub(super) fn is_pixels(&self) -> bool {
        (self.size, self.stride, self.before, self.after) == ([1; 2], [1; 2], [0; 2], [0; 2])
    }

    /// Returns the number of windows, down and across, in a map of that height and width; 0 if the map with its zeros is smaller than a
    /// window.
    pub(super) fn count(&self, map_size: [usize; 2]) -> [usize; 2] {
        std::array::from_fn(|axis| {
            let padded = self.before[axis] + map_size[axis] + self.after[axis];
            padded.checked_sub(self.size[axis]).map_or(0, |rest| rest / self.stride[axis] + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_smaller_than_a_window_has_none() {
        let windows = ConvWindows { channels: 1, size: [4, 4], stride: [1, 1], before: [0; 2], after: [0; 2] };
        assert_eq!((windows.count([3, 9]), windows.count([4, 9])), ([0, 6], [1, 6]));
        let padded = ConvWindows { before: [0, 1], after: [1, 2], ..windows };
        assert_eq!((padded.count([2, 9]), padded.count([3, 9])), ([0, 9], [1, 9]));
    }
}
