//! The kernels that this processor can run, and the choice among them.

use super::kernel::{F32Kernel, KernelKind, ProductKernel};
use crate::backend::precision::Precision;

/// Returns the kernels that this processor can run, fastest first.
#[cfg(target_arch = "x86_64")]
pub(super) fn kernels() -> Vec<ProductKernel> {
    super::avx512::kernels().chain(super::avx2::kernels()).collect()
}

/// Returns no kernels. On processors other than x86, tract uses its own kernels.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn kernels() -> Vec<ProductKernel> {
    Vec::new()
}

/// The product kernels in use.
#[derive(Clone, Copy)]
pub(in crate::backend::cpu) struct ProductKernels {
    exact: ProductKernel,
    f32: F32Kernel,
    /// Kernel for products with many weights; `None` unless int8 was requested and this processor has a kernel for it.
    reduced: Option<ProductKernel>,
}

/// Fewest weights of a product that is computed in reduced precision. Smaller products would not become faster. Sums of squares
/// in statistics and norms are smaller products and need the precision of f32.
const MIN_REDUCED_WEIGHTS: usize = 1 << 16;
/// Fewest factors of a sum that is computed in reduced precision. Shorter sums are fast anyway, and the distances of a kernel between
/// components need the precision of f32: next to a centre they are small differences of large numbers.
const MIN_REDUCED_STEPS: usize = 128;
/// Fewest columns of such a product. Rounding the other side takes as long for few columns as for many, and a narrow product may sum
/// thousands of small terms that cancel, as a regression on a kernel does.
const MIN_REDUCED_COLUMNS: usize = 256;

impl ProductKernels {
    /// Returns the fastest kernels of this processor; `None` if it has no f32 kernel. Products with many weights use `precision`
    /// if there is a kernel for it, else f32.
    pub(in crate::backend::cpu) fn best(precision: Precision) -> Option<Self> {
        let best = |precision| kernels().into_iter().find(|kernel| kernel.precision() == precision);
        let reduced = if precision == Precision::Int8 { best(precision) } else { None };
        let exact = best(Precision::F32)?;
        let KernelKind::F32(f32) = exact.kind else { return None };
        Some(Self { exact, f32, reduced })
    }

    /// Returns the kernels' names, which are part of the cache key of weights packed for them.
    pub(in crate::backend::cpu) fn names(&self) -> String {
        [Some(self.exact), self.reduced].into_iter().flatten().map(|kernel| kernel.name).collect::<Vec<_>>().join(" ")
    }

    /// Returns the kernel for products in f32 without a constant matrix.
    pub(in crate::backend::cpu) fn f32(&self) -> F32Kernel {
        self.f32
    }

    /// Returns the kernel for a product with a matrix `[steps, columns]` of weights.
    pub(in crate::backend::cpu) fn for_weights(&self, steps: usize, columns: usize) -> ProductKernel {
        let is_worth =
            steps >= MIN_REDUCED_STEPS && columns >= MIN_REDUCED_COLUMNS && steps * columns >= MIN_REDUCED_WEIGHTS;
        self.reduced.filter(|_| is_worth).unwrap_or(self.exact)
    }

    /// Returns the precision of products with many weights.
    pub(in crate::backend::cpu) fn precision(&self) -> Precision {
        self.reduced.unwrap_or(self.exact).precision()
    }
}

#[cfg(test)]
impl ProductKernels {
    /// Returns the kernels for `precision`. If there are none, reports that the test is skipped and returns `None`.
    pub(in crate::backend::cpu) fn or_skip(precision: Precision, test: &str) -> Option<Self> {
        let found = Self::best(precision).filter(|kernels| kernels.precision() == precision);
        if found.is_none() {
            edge_testing::skip(test, &format!("this processor has no kernel for {precision}"));
        }
        found
    }
}
