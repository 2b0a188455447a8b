//! Products of 32-bit floats with one eighth fewer multiplications: one level of Strassen's algorithm in Winograd's form (S. Winograd, "On
//! multiplication of 2 x 2 matrices", 1971).
//!
//! Both matrices are divided into quarters, `A = [a b; c d]` and `B = [e f; g h]`. Seven products of sums of quarters replace the eight
//! products of quarters:
//!
//! ```text
//! s1 = c + d    t1 = f - e     p1 = a  e     p5 = s1 t1
//! s2 = s1 - a   t2 = h - t1    p2 = b  g     p6 = s2 t2    A B = [p1 + p2              p1 + p6 + p5 + p3     ]
//! s3 = a - c    t3 = h - f     p3 = s4 h     p7 = s3 t3          [p1 + p6 + p7 + p4    p1 + p6 + p7 + p5     ]
//! s4 = b - s2   t4 = g - t2    p4 = d  t4
//! ```
//!
//! The kernels already run at the processor's peak, so only fewer multiplications make a product faster. The kernels compute the sums of
//! `B` panel by panel while they multiply; storing the sums would take another three quarters of the weights' memory. The rounding error of
//! a row depends on the largest values of that row and of the row that it is paired with. Rows of different images are never paired.

use std::cell::RefCell;

use super::super::rows::{VectorWidth, for_each_width};
use super::kernel::{COLUMNS, F32Kernel, PanelStep};
use super::multiply::{MatrixRows, Panel};

/// The left matrix, `[R, K]` by rows. Each image or text has `rows_per_item` consecutive rows; the last one may have fewer. Only rows of
/// the same image or text are paired.
#[derive(Clone, Copy)]
pub(super) struct LeftMatrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) inner: usize,
    pub(super) rows_per_item: usize,
}

/// The right matrix: the panels of `[K, outer]`, and a bias for each column of all panels.
#[derive(Clone, Copy)]
pub(super) struct RightMatrix<'a> {
    pub(super) panels: &'a [PanelStep],
    pub(super) outer: usize,
    pub(super) bias: &'a [f32],
}

/// Largest number of steps of half a panel that the seven products read at a time. These steps and their sums then stay in the second-level
/// cache.
const STEPS: usize = 512;
/// Unused values after each row of a part. Without them, rows a power of two apart would compete for the same lines of the
/// first-level cache.
const GAP: usize = 16;

/// Returns whether the sums cost less than they save, for `[rows_per_item, K] x [K, N]`.
pub(super) fn is_faster(kernel: &F32Kernel, [rows_per_item, inner, outer]: [usize; 3]) -> bool {
    kernel.run_difference.is_some()
        && rows_per_item >= 32
        && inner >= 256
        && inner.is_multiple_of(2)
        && outer >= 4 * COLUMNS
}

/// Computes `out = left x right + bias`, by rows.
///
/// # Panics
/// If one of the slices is too short, or if the kernel cannot compute differences.
pub(super) fn multiply(
    kernel: &F32Kernel,
    width: VectorWidth,
    left: LeftMatrix<'_>,
    right: RightMatrix<'_>,
    out: &mut [f32],
) {
    let LeftMatrix { values, inner, rows_per_item } = left;
    SCRATCH.with_borrow_mut(|StrassenScratch { parts, differences, products }| {
        parts.set(width, left);
        products.resize(7 * parts.rows * COLUMNS, 0.0);
        let pairs = right.outer / (2 * COLUMNS);
        for pair in 0..pairs {
            let panels = |pair: usize| right.panels.get(pair * 2 * inner..(pair + 1) * 2 * inner);
            let [current, next] = [pair, pair + 1].map(|pair| panels(pair).unwrap_or_default());
            multiply_panels(kernel, parts, [current, next], differences, products);
            let columns = pair * 2 * COLUMNS;
            let bias = &right.bias[columns..][..2 * COLUMNS];
            let item_size = parts.half * COLUMNS;
            for (item, out) in out.chunks_mut(rows_per_item * right.outer).enumerate() {
                let of_item =
                    |product: usize| &products[product * parts.rows * COLUMNS + item * item_size..][..item_size];
                combine(width, std::array::from_fn(of_item), bias, &mut out[columns..], right.outer);
            }
        }
        // The panels that are left after the last pair.
        let columns = pairs * 2 * COLUMNS;
        if columns < right.outer {
            let left = MatrixRows { values, stride: inner, width: inner };
            let (panels, bias) = (&right.panels[pairs * 2 * inner..], &right.bias[columns..]);
            kernel.multiply(left, panels, right.outer - columns, bias, &mut out[columns..], right.outer);
        }
    });
}

/// Computes the seven products, `[7, rows, COLUMNS]`, of the left matrix's parts and the sums of two panels. Prefetches the next two
/// panels.
fn multiply_panels(
    kernel: &F32Kernel,
    parts: &LeftParts,
    [current, next]: [&[PanelStep]; 2],
    differences: &mut [Vec<PanelStep>; 2],
    products: &mut [f32],
) {
    let steps = parts.steps;
    for first in (0..steps).step_by(STEPS) {
        let count = STEPS.min(steps - first);
        let [e, g, f, h] = std::array::from_fn(|quarter| &current[quarter * steps + first..][..count]);
        let prefetch: [&[PanelStep]; 4] = std::array::from_fn(|quarter| {
            let (panels, first) = if first + count < steps { (current, first + count) } else { (next, 0) };
            let end = steps.min(first + STEPS);
            panels.get(quarter * steps + first..quarter * steps + end).unwrap_or_default()
        });
        let mut multiply = |part: usize, panel: Panel<'_>, prefetch: &[PanelStep]| {
            let c = &mut products[part * parts.rows * COLUMNS..][..parts.rows * COLUMNS];
            let start = (first == 0).then_some(&[0.0; COLUMNS]);
            kernel.tiles(parts.rows(part, first, count), panel, prefetch, start, (c, COLUMNS));
        };
        let [one, other] = differences.each_mut().map(|difference| {
            difference.resize(STEPS, PanelStep::ZERO);
            &mut difference[..count]
        });
        multiply(0, Panel::Stored(e), prefetch[0]);
        multiply(1, Panel::Stored(g), prefetch[1]);
        multiply(2, Panel::Stored(h), prefetch[2]);
        multiply(4, Panel::Difference { of: f, less: e, to: one }, prefetch[3]);
        multiply(5, Panel::Difference { of: h, less: one, to: other }, &[]);
        multiply(3, Panel::Difference { of: g, less: other, to: one }, &[]);
        multiply(6, Panel::Difference { of: h, less: f, to: other }, &[]);
    }
}

/// The left factors of the seven products, in their order: `a`, `b`, `s4`, `d`, `s1`, `s2`, `s3`.
#[derive(Default)]
struct LeftParts {
    /// `[7, rows, steps + GAP]`
    values: Vec<f32>,
    /// Number of rows of a part: half the rows of all images or texts. An odd row is paired with zeros.
    rows: usize,
    /// Half the number of rows of one image or text.
    half: usize,
    /// Half of `K`: the number of values in a row of a part.
    steps: usize,
}

impl LeftParts {
    fn set(&mut self, width: VectorWidth, LeftMatrix { values, inner, rows_per_item }: LeftMatrix<'_>) {
        let items = values.chunks(rows_per_item * inner);
        self.half = rows_per_item.min(values.len() / inner).div_ceil(2);
        (self.rows, self.steps) = (items.len() * self.half, inner / 2);
        let stride = self.steps + GAP;
        self.values.resize(7 * self.rows * stride, 0.0);
        for (number, item) in items.enumerate() {
            for row in 0..self.half {
                let row_of = |row: usize| item.get(row * inner..(row + 1) * inner).unwrap_or_default();
                let (top, bottom) = (row_of(row), row_of(self.half + row));
                let at = (number * self.half + row) * stride;
                add_quarters(width, top, bottom, &mut self.values[at..], self.rows * stride);
            }
        }
    }

    /// Returns `width` values of each row of a part, from `first` on.
    fn rows(&self, part: usize, first: usize, width: usize) -> MatrixRows<'_> {
        let stride = self.steps + GAP;
        let values = &self.values[part * self.rows * stride..][..self.rows * stride];
        MatrixRows { values: &values[first..], stride, width }
    }
}

for_each_width! {
    /// Computes one row of each part from two rows of the left matrix. The parts are `part_stride` values apart. An empty `bottom` counts
    /// as zeros.
    fn add_quarters(top: &[f32], bottom: &[f32], parts: &mut [f32], part_stride: usize) {
        let steps = top.len() / 2;
        let (a, b) = top.split_at(steps);
        let mut parts = parts.chunks_mut(part_stride);
        let [to_a, to_b, s4, to_d, s1, s2, s3] =
            std::array::from_fn(|_| parts.next().and_then(|part| part.get_mut(..steps)).unwrap_or_default());
        to_a.copy_from_slice(a);
        to_b.copy_from_slice(b);
        if bottom.is_empty() {
            to_d.fill(0.0);
            s1.fill(0.0);
            for at in 0..steps {
                (s2[at], s3[at], s4[at]) = (-a[at], a[at], b[at] + a[at]);
            }
            return;
        }
        let (c, d) = bottom.split_at(steps);
        to_d.copy_from_slice(d);
        for at in 0..steps {
            let sum = c[at] + d[at];
            let rest = sum - a[at];
            (s1[at], s2[at], s3[at], s4[at]) = (sum, rest, a[at] - c[at], b[at] - rest);
        }
    }
}

for_each_width! {
    /// Adds the seven products, `[half, COLUMNS]` each, to rows of the result. `out` starts at the first column of the panels; its rows are
    /// `stride` values apart.
    fn combine(products: [&[f32]; 7], bias: &[f32], out: &mut [f32], stride: usize) {
        let (bias, products) = (bias.as_chunks::<COLUMNS>().0, products.map(|product| product.as_chunks::<COLUMNS>().0));
        let half = products[0].len();
        for row in 0..half {
            let [p1, p2, p3, p4, p5, p6, p7] = products.map(|product| &product[row]);
            let u = add(p1, p6);
            let v = add(&u, p7);
            let (top, bottom) = (row * stride, (half + row) * stride);
            write(out, top, &add(&add(p1, p2), &bias[0]));
            write(out, top + COLUMNS, &add(&add(&add(&u, p5), p3), &bias[1]));
            write(out, bottom, &add(&add(&v, p4), &bias[0]));
            write(out, bottom + COLUMNS, &add(&add(&v, p5), &bias[1]));
        }
    }
}

#[inline(always)]
fn add(a: &[f32; COLUMNS], b: &[f32; COLUMNS]) -> [f32; COLUMNS] {
    std::array::from_fn(|at| a[at] + b[at])
}

/// Writes `values` from `at` on. Does nothing for the row that was added to make the halves equal.
#[inline(always)]
fn write(out: &mut [f32], at: usize, values: &[f32; COLUMNS]) {
    if let Some(out) = out.get_mut(at..at + COLUMNS) {
        out.copy_from_slice(values);
    }
}

/// Buffers of a product, reused from run to run because allocating them takes longer than filling them.
#[derive(Default)]
struct StrassenScratch {
    parts: LeftParts,
    differences: [Vec<PanelStep>; 2],
    products: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<StrassenScratch> = RefCell::default();
}
