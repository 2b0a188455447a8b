//! What a kernel is, and which of them this processor can run.

use super::super::super::Precision;
use super::multiply::{F32Product, Int8Product, Step};

/// Columns of a panel, and of every kernel's tile.
pub(in super::super) const COLUMNS: usize = 32;

/// The innermost part of a product: a tile of some rows and [`COLUMNS`] columns, over all or some of the steps of `K`.
#[derive(Clone, Copy)]
pub(in super::super) struct Kernel {
    /// For logs and reports.
    pub(super) name: &'static str,
    pub(super) run: Run,
}

/// By the numbers that are multiplied.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "there is no kernel to make one of"))]
pub(super) enum Run {
    /// A step is one row of the panel.
    F32(F32Product),
    /// A step is four rows of the panel, interleaved.
    Int8(Int8Product),
}

/// `c = start + a x b`, where `start` is a row of [`COLUMNS`] for all rows, or `c` itself.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "read by kernels"))]
pub(super) struct F32Tile {
    /// 1 to the kernel's rows.
    pub(super) rows: usize,
    pub(super) steps: usize,
    /// `rows` rows of at least `steps` values, `a_stride` apart.
    pub(super) a: *const f32,
    pub(super) a_stride: usize,
    /// `steps` steps.
    pub(super) b: *const Step,
    /// `rows` rows of [`COLUMNS`] values, `c_stride` apart.
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    /// [`COLUMNS`] values; null to add to what is in `c`.
    pub(super) start: *const f32,
    /// What will be read after this tile is brought near in passing: from here on, so many bytes with each step.
    pub(super) ahead: *const u8,
    pub(super) ahead_step: usize,
}

/// The right side of a tile as a difference: `b - less`.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "read by kernels"))]
pub(super) struct Difference {
    /// As many steps as the tile has.
    pub(super) less: *const Step,
    /// As many steps: where it goes, for the tiles that follow.
    pub(super) to: *mut Step,
}

/// `c = (start + a x b) * row_scale * column_scale + bias`, the sum in integers.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "read by kernels"))]
pub(super) struct Int8Tile {
    /// 1 to the kernel's rows.
    pub(super) rows: usize,
    pub(super) steps: usize,
    /// `rows` rows of at least `steps` groups of four unsigned bytes, `a_stride` groups apart.
    pub(super) a: *const u32,
    pub(super) a_stride: usize,
    /// `steps` steps.
    pub(super) b: *const Step,
    /// `rows` rows of [`COLUMNS`] values, `c_stride` apart.
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    /// [`COLUMNS`] values: what takes the offset of the unsigned bytes back.
    pub(super) start: *const i32,
    /// `rows` values.
    pub(super) row_scale: *const f32,
    /// [`COLUMNS`] values.
    pub(super) column_scale: *const f32,
    /// [`COLUMNS`] values.
    pub(super) bias: *const f32,
}

/// The kernels in use.
#[derive(Clone, Copy)]
pub(in super::super) struct Kernels {
    exact: Kernel,
    f32: F32Product,
    /// For products with many weights, where fewer digits were asked for and this processor is faster with them.
    reduced: Option<Kernel>,
}

/// Products with fewer weights are over before bytes gain anything, and sums of squares, as statistics and norms take them, are
/// among those.
const WORTH_REDUCING: usize = 1 << 16;

impl Kernels {
    /// The fastest ones of this processor; `None` where it has none of them.
    pub(in super::super) fn best(precision: Precision) -> Option<Self> {
        let best = |precision| Kernel::available().into_iter().find(|kernel| kernel.precision() == precision);
        let reduced = if precision == Precision::Int8 { best(precision) } else { None };
        let exact = best(Precision::F32)?;
        let Run::F32(f32) = exact.run else { return None };
        Some(Self { exact, f32, reduced })
    }

    /// What they are, for what is kept for them alone.
    pub(in super::super) fn names(&self) -> String {
        [Some(self.exact), self.reduced].into_iter().flatten().map(|kernel| kernel.name).collect::<Vec<_>>().join(" ")
    }

    /// That for products in f32 whose sides both change.
    pub(in super::super) fn f32(&self) -> F32Product {
        self.f32
    }

    /// That for a product with so many weights.
    pub(in super::super) fn for_weights(&self, count: usize) -> Kernel {
        self.reduced.filter(|_| count >= WORTH_REDUCING).unwrap_or(self.exact)
    }

    /// What products with many weights are computed in.
    pub(in super::super) fn precision(&self) -> Precision {
        self.reduced.unwrap_or(self.exact).precision()
    }
}

impl Kernel {
    /// What this processor can run, fastest first.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn available() -> Vec<Self> {
        super::avx512::kernels().chain(super::avx2::kernels()).collect()
    }

    /// None: tract's own are written for other processors.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn available() -> Vec<Self> {
        Vec::new()
    }

    /// What its products are computed in.
    pub(super) fn precision(&self) -> Precision {
        match self.run {
            Run::F32(_) => Precision::F32,
            Run::Int8(_) => Precision::Int8,
        }
    }
}

#[cfg(test)]
impl Kernels {
    /// Those that compute in `precision`; a test that goes without says so.
    pub(in super::super) fn or_skip(precision: Precision, test: &str) -> Option<Self> {
        let found = Self::best(precision).filter(|kernels| kernels.precision() == precision);
        if found.is_none() {
            edge_testing::skip(test, &format!("this processor has no kernel for {precision}"));
        }
        found
    }
}
