//! Scaled dot-product attention, one attention head at a time: `softmax(Q K^T * factor + mask) V`.

use std::cell::RefCell;

use super::product::{COLUMNS, F32Kernel, MatrixRows, PanelStep};
use super::rows::{VectorWidth, softmax};

/// The settings of one attention operator; [`Attention::run`] computes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attention {
    pub(super) heads: usize,
    /// Factor of the products of queries and keys; usually `1 / sqrt(width of a head)`.
    pub(super) factor: f32,
    pub(super) kernel: F32Kernel,
    pub(super) width: VectorWidth,
}

/// Buffers of an attention operator, reused for every head and every run because allocating them takes longer than filling them.
#[derive(Default)]
struct AttentionScratch {
    keys: Vec<PanelStep>,
    values: Vec<PanelStep>,
    weights: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<AttentionScratch> = RefCell::default();
}

impl Attention {
    /// Computes attention for one element of the batch. `queries` and `out` are `[Q, all]`; `keys` and `values` are `[K, all]`; `all` is
    /// the width of all heads together. `mask` is `[Q, K]` or empty.
    pub(super) fn run(&self, [queries, keys, values, mask]: [&[f32]; 4], all: usize, out: &mut [f32]) {
        let (head, keys_count) = (all / self.heads, keys.len() / all);
        let stride = keys_count.next_multiple_of(COLUMNS);
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.weights.resize(queries.len() / all * stride, 0.0);
            for first in (0..all).step_by(head) {
                transpose(keys, all, first..first + head, &mut scratch.keys);
                let rows = MatrixRows { values: &queries[first..], stride: all, width: head };
                self.kernel.multiply(rows, &scratch.keys, stride, &[], &mut scratch.weights, stride);
                for (at, row) in scratch.weights.chunks_exact_mut(stride).enumerate() {
                    let mask = if mask.is_empty() { mask } else { &mask[at * keys_count..][..keys_count] };
                    softmax(self.width, &mut row[..keys_count], self.factor, mask);
                }
                pack(values, all, first..first + head, &mut scratch.values);
                let rows = MatrixRows { values: &scratch.weights, stride, width: keys_count };
                self.kernel.multiply(rows, &scratch.values, head, &[], &mut out[first..], all);
            }
        });
    }
}

/// Packs the given columns of `matrix`, `[R, all]`, as panels of a matrix `[R, columns]`.
fn pack(matrix: &[f32], all: usize, columns: std::ops::Range<usize>, panels: &mut Vec<PanelStep>) {
    panels.clear();
    for first in columns.clone().step_by(COLUMNS) {
        let width = COLUMNS.min(columns.end - first);
        panels.extend(matrix.chunks_exact(all).map(|row| PanelStep::of(&row[first..first + width])));
    }
}

/// Packs the given columns of `matrix`, `[R, all]`, as panels of the transposed matrix `[columns, R]`.
fn transpose(matrix: &[f32], all: usize, columns: std::ops::Range<usize>, panels: &mut Vec<PanelStep>) {
    panels.clear();
    for rows in matrix.chunks(COLUMNS * all) {
        let at = panels.len();
        panels.resize(at + columns.len(), PanelStep::ZERO);
        for (place, row) in rows.chunks_exact(all).enumerate() {
            for (step, value) in panels[at..].iter_mut().zip(&row[columns.clone()]) {
                step.0[place] = value.to_ne_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::product::ProductKernels;
    use crate::backend::precision::Precision;

    fn values(seed: usize, count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    /// Computes one attention head in plain loops.
    fn plain([q, k, v, mask]: [&[f32]; 4], all: usize, columns: std::ops::Range<usize>, factor: f32) -> Vec<f64> {
        let (queries, keys) = (q.len() / all, k.len() / all);
        let mut out = Vec::new();
        for i in 0..queries {
            let dot = |j: usize| -> f64 {
                columns.clone().map(|c| f64::from(q[i * all + c]) * f64::from(k[j * all + c])).sum()
            };
            let added = |j: usize| mask.get(i * keys + j).map_or(0.0, |m| f64::from(*m));
            let weights: Vec<f64> = (0..keys).map(|j| (dot(j) * f64::from(factor) + added(j)).exp()).collect();
            let sum: f64 = weights.iter().sum();
            out.extend(
                columns.clone().map(|c| (0..keys).map(|j| weights[j] / sum * f64::from(v[j * all + c])).sum::<f64>()),
            );
        }
        out
    }

    /// Returns every vector width twice: with an empty mask and with `mask`.
    fn with_masks(mask: &[f32]) -> impl Iterator<Item = (&[f32], VectorWidth)> {
        VectorWidth::available().into_iter().flat_map(move |width| [(&[][..], width), (mask, width)])
    }

    #[test]
    fn every_head_is_what_plain_loops_make_of_it() {
        let Some(kernels) = ProductKernels::or_skip(Precision::F32, "backend::cpu::attention") else { return };
        // More queries than a block has rows; keys, and heads, narrower and wider than a panel.
        for (queries, keys, heads, head) in
            [(1, 1, 1, 16), (50, 50, 3, 64), (77, 49, 2, 40), (130, 33, 2, 24), (5, 32, 4, 8)]
        {
            let all = heads * head;
            let (q, k, v) = (values(1, queries * all), values(2, keys * all), values(3, keys * all));
            let causal = |at: usize| if at % keys > at / keys { f32::NEG_INFINITY } else { 0.25 };
            let causal: Vec<f32> = (0..queries * keys).map(causal).collect();
            for (mask, width) in with_masks(&causal) {
                let attention = Attention { heads, factor: 0.3, kernel: kernels.f32(), width };
                let mut out = vec![f32::NAN; queries * all];
                attention.run([&q, &k, &v, mask], all, &mut out);
                for number in 0..heads {
                    let columns = number * head..(number + 1) * head;
                    let expected = plain([&q, &k, &v, mask], all, columns.clone(), 0.3);
                    let found = out.chunks(all).flat_map(|row| &row[columns.clone()]);
                    for (found, expected) in found.zip(expected) {
                        assert!((f64::from(*found) - expected).abs() < 2e-6, "{queries}x{keys}: {found}, {expected}");
                    }
                }
            }
        }
    }
}
