//! Definitions that kernels share with their callers: the layout of packed matrices, the arguments of a kernel, and the kernel types.
//! Imports no other module of the product.

use crate::backend::precision::Precision;

/// Columns of a panel and of every kernel's tile.
pub(in crate::backend::cpu) const COLUMNS: usize = 32;

/// The part of a panel that a kernel reads in one step along `K`: four bytes for each of the [`COLUMNS`] columns, two cache lines. It
/// holds one row of 32-bit floats, or four rows of bytes, interleaved.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(in crate::backend::cpu) struct PanelStep(pub(in crate::backend::cpu) [[u8; 4]; COLUMNS]);

impl PanelStep {
    pub(in crate::backend::cpu) const ZERO: Self = Self([[0; 4]; COLUMNS]);

    /// Returns a step that holds `values`, at most [`COLUMNS`], followed by zeros.
    pub(in crate::backend::cpu) fn of(values: &[f32]) -> Self {
        let mut step = Self::ZERO;
        step.0.iter_mut().zip(values).for_each(|(out, value)| *out = value.to_ne_bytes());
        step
    }
}

/// A kernel of a matrix product: a function that computes one tile of a few rows and [`COLUMNS`] columns, over some or all of the steps
/// along `K`.
#[derive(Clone, Copy)]
pub(in crate::backend::cpu) struct ProductKernel {
    /// Name, for logs and for the names of cached files.
    pub(super) name: &'static str,
    pub(super) kind: KernelKind,
}

/// A kernel by the type of numbers that it multiplies.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "there is no kernel to make one of"))]
pub(super) enum KernelKind {
    F32(F32Kernel),
    Int8(Int8Kernel),
}

impl ProductKernel {
    /// Returns the precision in which the kernel multiplies.
    pub(super) fn precision(&self) -> Precision {
        match self.kind {
            KernelKind::F32(_) => Precision::F32,
            KernelKind::Int8(_) => Precision::Int8,
        }
    }
}

/// A kernel for 32-bit floats, with its sizes.
#[derive(Debug, Clone, Copy)]
pub(in crate::backend::cpu) struct F32Kernel {
    /// Rows of a full tile.
    pub(super) rows: usize,
    /// Largest number of steps of one tile. That many steps of a panel stay in the first-level or second-level cache.
    pub(super) steps: usize,
    pub(super) run: unsafe fn(&F32Tile),
    /// The same kernel with a difference of two panels on the right; `None` if computing the difference beforehand is as fast.
    pub(super) run_difference: Option<unsafe fn(&F32Tile, PanelDifference)>,
}

/// A kernel for bytes, with its size.
#[derive(Clone, Copy)]
pub(super) struct Int8Kernel {
    /// Rows of a full tile.
    pub(super) rows: usize,
    pub(super) run: unsafe fn(&Int8Tile),
}

/// A tile of floats: `c = start + a x b`, where `start` is either one row of [`COLUMNS`] values for all rows, or `c` itself.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "read by kernels"))]
pub(super) struct F32Tile {
    /// Number of rows, from 1 to the kernel's `rows`.
    pub(super) rows: usize,
    pub(super) steps: usize,
    /// `rows` rows of at least `steps` values, `a_stride` values apart.
    pub(super) a: *const f32,
    pub(super) a_stride: usize,
    /// `steps` steps of a panel.
    pub(super) b: *const PanelStep,
    /// `rows` rows of [`COLUMNS`] values, `c_stride` values apart.
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    /// [`COLUMNS`] values, or null to add to the values in `c`.
    pub(super) start: *const f32,
    /// Address to prefetch in the first step; moves on by `prefetch_stride` bytes with each step.
    pub(super) prefetch: *const u8,
    pub(super) prefetch_stride: usize,
}

/// Replaces the right side `b` of a tile by `b - less`.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "read by kernels"))]
pub(super) struct PanelDifference {
    /// The panel to subtract; as many steps as the tile has.
    pub(super) less: *const PanelStep,
    /// Receives the difference, for later tiles; as many steps as the tile has.
    pub(super) to: *mut PanelStep,
}

/// A tile of bytes: `c = (start + a x b) * row_scale * column_scale + bias`, with the sum in 32-bit integers.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "read by kernels"))]
pub(super) struct Int8Tile {
    /// Number of rows, from 1 to the kernel's `rows`.
    pub(super) rows: usize,
    pub(super) steps: usize,
    /// `rows` rows of at least `steps` groups of four unsigned bytes, `a_stride` groups apart.
    pub(super) a: *const u32,
    pub(super) a_stride: usize,
    /// `steps` steps of a panel.
    pub(super) b: *const PanelStep,
    /// `rows` rows of [`COLUMNS`] values, `c_stride` values apart.
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    /// [`COLUMNS`] values, which cancel the offset of the unsigned bytes.
    pub(super) start: *const i32,
    /// Scales of the rows of `a`: `rows` values.
    pub(super) row_scale: *const f32,
    /// Scales of the columns of `b`: [`COLUMNS`] values.
    pub(super) column_scale: *const f32,
    /// [`COLUMNS`] values, each added to all results of its column.
    pub(super) bias: *const f32,
}

/// `for_rows!(run(arguments), rows => 1 2 ..)` calls `run::<rows>(arguments)`.
#[cfg(target_arch = "x86_64")]
macro_rules! for_rows {
    (@ $rows:literal $run:ident ($($argument:expr),*)) => { $run::<$rows>($($argument),*) };
    ($run:ident $arguments:tt, $count:expr => $($rows:literal)*) => {
        match $count {
            $($rows => for_rows!(@ $rows $run $arguments),)*
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use for_rows;

/// `for_each!(i, count => body)` runs the body for each `i` from 0 up to `count`. Kernels use it instead of iterators: the compiler inlines
/// `zip` into a function with target features only sometimes, and if it does not, the sums are in memory instead of registers, which takes
/// five times as long.
macro_rules! for_each {
    ($i:ident, $count:expr => $body:block) => {
        let mut $i = 0;
        while $i < $count {
            $body
            $i += 1;
        }
    };
}
pub(in crate::backend::cpu) use for_each;
