//! Products of 32-bit floats with an eighth fewer multiplications: one step of Strassen's algorithm in Winograd's form (S. Winograd,
//! "On multiplication of 2 x 2 matrices", 1971).
//!
//! Both sides are cut into quarters, `A = [a b; c d]` and `B = [e f; g h]`, and seven products of their sums take the place of eight
//! products of quarters:
//!
//! ```text
//! s1 = c + d    t1 = f - e     p1 = a  e     p5 = s1 t1
//! s2 = s1 - a   t2 = h - t1    p2 = b  g     p6 = s2 t2    A B = [p1 + p2              p1 + p6 + p5 + p3     ]
//! s3 = a - c    t3 = h - f     p3 = s4 h     p7 = s3 t3          [p1 + p6 + p7 + p4    p1 + p6 + p7 + p5     ]
//! s4 = b - s2   t4 = g - t2    p4 = d  t4
//! ```
//!
//! Where kernels reach the processor's peak, nothing else makes a product of floats faster. The sums of `B` are made by the kernels,
//! panel by panel: kept, they would take three quarters of the weights' memory again. Rounding goes with the largest values of a row and
//! of the one it is paired with, not with each product's own; rows of different images are never paired.

use std::cell::RefCell;

use super::super::rows::{Width, for_each_width};
use super::kernel::COLUMNS;
use super::multiply::{F32Product, Panel, Rows, Step};

/// The left side: `[R, K]` by rows, of which so many belong `together` and are paired; the last ones may be fewer.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) values: &'a [f32],
    pub(super) inner: usize,
    pub(super) together: usize,
}

/// The matrix's side: panels of `[K, outer]`, a bias for each column of all panels.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) panels: &'a [Step],
    pub(super) outer: usize,
    pub(super) bias: &'a [f32],
}

/// Steps of a panel's half that are multiplied at once, seven times: with their sums they stay in the second cache.
const STEPS: usize = 512;
/// Between rows: those a power of two apart would meet in one place of the first cache.
const GAP: usize = 16;

/// Whether the sums cost less than they save, for `[together, K]` times `[K, N]`.
pub(super) fn is_worth_it(product: &F32Product, [together, inner, outer]: [usize; 3]) -> bool {
    product.run_difference.is_some()
        && together >= 32
        && inner >= 256
        && inner.is_multiple_of(2)
        && outer >= 4 * COLUMNS
}

/// `out = left x right + bias`, by rows.
///
/// # Panics
/// Where one of them is too short for that, or the product's kernel makes no differences.
pub(super) fn multiply(product: &F32Product, width: Width, left: Left<'_>, right: Right<'_>, out: &mut [f32]) {
    let Left { values, inner, together } = left;
    SCRATCH.with_borrow_mut(|Scratch { parts, differences, products }| {
        parts.take(width, left);
        products.resize(7 * parts.rows * COLUMNS, 0.0);
        let pairs = right.outer / (2 * COLUMNS);
        for pair in 0..pairs {
            let panels = |pair: usize| right.panels.get(pair * 2 * inner..(pair + 1) * 2 * inner);
            let [now, then] = [pair, pair + 1].map(|pair| panels(pair).unwrap_or_default());
            multiply_panels(product, parts, [now, then], differences, products);
            let columns = pair * 2 * COLUMNS;
            let bias = &right.bias[columns..][..2 * COLUMNS];
            let of_one = parts.half * COLUMNS;
            for (number, out) in out.chunks_mut(together * right.outer).enumerate() {
                let of = |product: usize| &products[product * parts.rows * COLUMNS + number * of_one..][..of_one];
                combine(width, std::array::from_fn(of), bias, &mut out[columns..], right.outer);
            }
        }
        // What is no pair of panels.
        let columns = pairs * 2 * COLUMNS;
        if columns < right.outer {
            let left = Rows { values, stride: inner, width: inner };
            let (panels, bias) = (&right.panels[pairs * 2 * inner..], &right.bias[columns..]);
            product.multiply(left, panels, right.outer - columns, bias, &mut out[columns..], right.outer);
        }
    });
}

/// The seven products of the left side's sums with those of two panels, `[7, rows, COLUMNS]`. The panels after them are read ahead.
fn multiply_panels(
    product: &F32Product,
    parts: &Parts,
    [now, then]: [&[Step]; 2],
    differences: &mut [Vec<Step>; 2],
    products: &mut [f32],
) {
    let steps = parts.steps;
    for first in (0..steps).step_by(STEPS) {
        let count = STEPS.min(steps - first);
        let [e, g, f, h] = std::array::from_fn(|quarter| &now[quarter * steps + first..][..count]);
        let next: [&[Step]; 4] = std::array::from_fn(|quarter| {
            let (panels, first) = if first + count < steps { (now, first + count) } else { (then, 0) };
            let end = steps.min(first + STEPS);
            panels.get(quarter * steps + first..quarter * steps + end).unwrap_or_default()
        });
        let mut multiply = |part: usize, panel: Panel<'_>, next: &[Step]| {
            let c = &mut products[part * parts.rows * COLUMNS..][..parts.rows * COLUMNS];
            let start = (first == 0).then_some(&[0.0; COLUMNS]);
            product.tiles(parts.rows(part, first, count), panel, next, start, (c, COLUMNS));
        };
        let [one, other] = differences.each_mut().map(|difference| {
            difference.resize(STEPS, Step::ZERO);
            &mut difference[..count]
        });
        multiply(0, Panel::Kept(e), next[0]);
        multiply(1, Panel::Kept(g), next[1]);
        multiply(2, Panel::Kept(h), next[2]);
        multiply(4, Panel::Difference { of: f, less: e, to: one }, next[3]);
        multiply(5, Panel::Difference { of: h, less: one, to: other }, &[]);
        multiply(3, Panel::Difference { of: g, less: other, to: one }, &[]);
        multiply(6, Panel::Difference { of: h, less: f, to: other }, &[]);
    }
}

/// The left side's quarters and their sums, in the products' order: `a`, `b`, `s4`, `d`, `s1`, `s2`, `s3`.
#[derive(Default)]
struct Parts {
    /// `[7, rows, steps and a gap]`
    values: Vec<f32>,
    /// Half of all rows; an odd one is paired with zeros.
    rows: usize,
    /// Half of those that belong together.
    half: usize,
    /// Half of `K`.
    steps: usize,
}

impl Parts {
    fn take(&mut self, width: Width, Left { values, inner, together }: Left<'_>) {
        let groups = values.chunks(together * inner);
        self.half = together.min(values.len() / inner).div_ceil(2);
        (self.rows, self.steps) = (groups.len() * self.half, inner / 2);
        let stride = self.steps + GAP;
        self.values.resize(7 * self.rows * stride, 0.0);
        for (number, group) in groups.enumerate() {
            for row in 0..self.half {
                let row_of = |row: usize| group.get(row * inner..(row + 1) * inner).unwrap_or_default();
                let (top, bottom) = (row_of(row), row_of(self.half + row));
                let at = (number * self.half + row) * stride;
                add_quarters(width, top, bottom, &mut self.values[at..], self.rows * stride);
            }
        }
    }

    fn rows(&self, part: usize, first: usize, width: usize) -> Rows<'_> {
        let stride = self.steps + GAP;
        let values = &self.values[part * self.rows * stride..][..self.rows * stride];
        Rows { values: &values[first..], stride, width }
    }
}

for_each_width! {
    /// Writes a row of each part, `apart` from each other. What is missing of a row is zero.
    fn add_quarters(top: &[f32], bottom: &[f32], parts: &mut [f32], apart: usize) {
        let steps = top.len() / 2;
        let (a, b) = top.split_at(steps);
        let mut parts = parts.chunks_mut(apart);
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
    /// The products, `[half, COLUMNS]` each, as the answer's rows; `out` begins at the panels' first column, its rows are `stride` apart.
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

/// Nothing for a row that was there only to make the halves equal.
#[inline(always)]
fn write(out: &mut [f32], at: usize, values: &[f32; COLUMNS]) {
    if let Some(out) = out.get_mut(at..at + COLUMNS) {
        out.copy_from_slice(values);
    }
}

/// Kept from run to run: getting memory takes longer than filling it.
#[derive(Default)]
struct Scratch {
    parts: Parts,
    differences: [Vec<Step>; 2],
    products: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}
