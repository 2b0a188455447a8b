//! The operations that the networks are written in. Each network has one forward pass, generic over these operations:
//! [`Compute`] carries them out with burn, and [`GraphBuilder`](crate::onnx::GraphBuilder) writes them as ONNX nodes. The trained
//! network and its exported graph therefore come from the same code.
//!
//! Operations take tensors by value, so that burn can reuse their memory; clone a tensor that is needed again.

mod batch_norm;
mod compute;
mod graph;

use std::ops::Range;

use burn::module::Param;
use burn::nn::{BatchNorm, Dropout, LayerNorm, Linear};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

pub use compute::Compute;

/// The shape of a convolution with a square kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Side of the kernel, in pixels.
    pub kernel: usize,
    /// Stride in both directions, in pixels.
    pub stride: usize,
    /// Numbers of rows of zeros above and below the input; the same numbers of columns are added left and right of it.
    pub padding: [usize; 2],
    /// Number of channel groups; the outputs of a group depend on the inputs of the same group only.
    pub groups: usize,
}

/// A convolution with given weights and no padding.
#[derive(Debug, Clone)]
pub struct FixedConv {
    /// Row-major `[outputs, inputs / groups, height, width]`.
    pub weights: Vec<f32>,
    /// One bias per output channel.
    pub bias: Vec<f32>,
    /// Height and width of the kernel, in pixels.
    pub size: [usize; 2],
    /// Stride down and across, in pixels.
    pub stride: [usize; 2],
    /// Number of channel groups; the outputs of a group depend on the inputs of the same group only.
    pub groups: usize,
}

impl FixedConv {
    /// A convolution with a square kernel whose biases are zero.
    pub fn without_bias(weights: Vec<f32>, outputs: usize, side: usize, stride: usize, groups: usize) -> Self {
        Self { weights, bias: vec![0.0; outputs], size: [side; 2], stride: [stride; 2], groups }
    }

    /// A convolution whose kernel has one channel, whose windows touch and whose biases are zero.
    pub fn of_blocks(weights: Vec<f32>, outputs: usize, size: [usize; 2]) -> Self {
        Self { weights, bias: vec![0.0; outputs], size, stride: size, groups: 1 }
    }

    fn dims(&self) -> [usize; 4] {
        let outputs = self.bias.len();
        let [height, width] = self.size;
        [outputs, self.weights.len() / (outputs * height * width), height, width]
    }
}

/// Operations on tensors and numbers. The first dimension of a tensor is the batch. Shapes that are passed as numbers have -1 for it.
pub trait TensorOps {
    /// A tensor of 32-bit floats with D dimensions.
    type Tensor<const D: usize>: Clone;
    /// Token ids `[N, T]`.
    type Ids: Clone;

    /// `a + b`, with broadcasting.
    fn add<const D: usize>(&mut self, a: Self::Tensor<D>, b: Self::Tensor<D>) -> Self::Tensor<D>;
    /// `a - b`, with broadcasting.
    fn sub<const D: usize>(&mut self, a: Self::Tensor<D>, b: Self::Tensor<D>) -> Self::Tensor<D>;
    /// `a * b`, element by element, with broadcasting.
    fn mul<const D: usize>(&mut self, a: Self::Tensor<D>, b: Self::Tensor<D>) -> Self::Tensor<D>;
    /// `a / b`, element by element, with broadcasting.
    fn div<const D: usize>(&mut self, a: Self::Tensor<D>, b: Self::Tensor<D>) -> Self::Tensor<D>;
    /// `x * scale + shift`. A scale of 1 and a shift of 0 cost nothing.
    fn affine<const D: usize>(&mut self, x: Self::Tensor<D>, scale: f32, shift: f32) -> Self::Tensor<D>;
    /// Absolute value of each element.
    fn abs<const D: usize>(&mut self, x: Self::Tensor<D>) -> Self::Tensor<D>;
    /// Square root of each element.
    fn sqrt<const D: usize>(&mut self, x: Self::Tensor<D>) -> Self::Tensor<D>;
    /// e to the power of each element.
    fn exp<const D: usize>(&mut self, x: Self::Tensor<D>) -> Self::Tensor<D>;
    /// Natural logarithm of each element.
    fn log<const D: usize>(&mut self, x: Self::Tensor<D>) -> Self::Tensor<D>;
    /// Values clamped to `low..=high`.
    fn clip<const D: usize>(&mut self, x: Self::Tensor<D>, low: f32, high: f32) -> Self::Tensor<D>;
    /// `max(x, 0)` for each element.
    fn relu<const D: usize>(&mut self, x: Self::Tensor<D>) -> Self::Tensor<D>;
    /// `1 / (1 + exp(-x))`.
    fn sigmoid<const D: usize>(&mut self, x: Self::Tensor<D>) -> Self::Tensor<D>;
    /// `x * Phi(x)` with the normal distribution's Phi (Hendrycks, Gimpel, "Gaussian error linear units", 2016).
    fn gelu<const D: usize>(&mut self, x: Self::Tensor<D>) -> Self::Tensor<D>;
    /// Softmax along `dim`.
    fn softmax<const D: usize>(&mut self, x: Self::Tensor<D>, dim: usize) -> Self::Tensor<D>;
    /// Sets a share of the values to zero in training; does nothing otherwise.
    fn dropout<const D: usize>(&mut self, dropout: &Dropout, x: Self::Tensor<D>) -> Self::Tensor<D>;

    /// The same values in another shape; one dimension may be -1 and takes the remaining length.
    fn reshape<const D: usize, const R: usize>(&mut self, x: Self::Tensor<D>, dims: [i64; R]) -> Self::Tensor<R>;
    /// The dimensions in another order.
    fn permute<const D: usize>(&mut self, x: Self::Tensor<D>, order: [usize; D]) -> Self::Tensor<D>;
    /// The part `range` of dimension `dim`.
    fn slice<const D: usize>(&mut self, x: Self::Tensor<D>, dim: usize, range: Range<usize>) -> Self::Tensor<D>;
    /// All parts, one after the other along `dim`.
    fn concat<const D: usize>(&mut self, parts: Vec<Self::Tensor<D>>, dim: usize) -> Self::Tensor<D>;
    /// The sum over `dim`, which disappears: R is D - 1.
    fn sum<const D: usize, const R: usize>(&mut self, x: Self::Tensor<D>, dim: usize) -> Self::Tensor<R>;
    /// The largest value along `dim`. The dimension stays, with length 1.
    fn max<const D: usize>(&mut self, x: Self::Tensor<D>, dim: usize) -> Self::Tensor<D>;
    /// Matrix product of the last two dimensions, in 32 bits.
    fn matmul<const D: usize>(&mut self, a: Self::Tensor<D>, b: Self::Tensor<D>) -> Self::Tensor<D>;
    /// [`TensorOps::matmul`], in bfloat16 where the training asks for it (`mixed`).
    fn mixed_matmul<const D: usize>(&mut self, a: Self::Tensor<D>, b: Self::Tensor<D>) -> Self::Tensor<D>;

    /// Numbers in row-major order as a tensor.
    fn constant<const D: usize>(&mut self, values: &[f32], dims: [usize; D]) -> Self::Tensor<D>;
    /// One number per column, `[1, F]`, to be broadcast over rows.
    fn row(&mut self, values: &[f32]) -> Self::Tensor<2>;
    /// 1 where an id equals `id`, 0 elsewhere, `[N, T]`.
    fn equals(&mut self, ids: Self::Ids, id: i64) -> Self::Tensor<2>;
    /// The ids as floats, which hold ids below 2^24 exactly.
    fn ids_to_floats(&mut self, ids: Self::Ids) -> Self::Tensor<2>;

    /// A convolution with given weights.
    fn conv(&mut self, x: Self::Tensor<4>, conv: &FixedConv) -> Self::Tensor<4>;
    /// The maps of the channels in `range`.
    fn channels(&mut self, x: Self::Tensor<4>, range: Range<usize>) -> Self::Tensor<4>;
    /// The maps without a border of `[top, bottom, left, right]` pixels.
    fn crop(&mut self, x: Self::Tensor<4>, border: [usize; 4]) -> Self::Tensor<4>;
    /// Mean over H and W, `[N, C, H, W] -> [N, C]`.
    ///
    /// Implementations average each line first: a single running sum over a whole map loses the digits that a variance
    /// `E x^2 - (E x)^2` depends on.
    fn mean_of_maps(&mut self, x: Self::Tensor<4>) -> Self::Tensor<2>;
    /// `x [N, C, H, W]`, each map multiplied by its factor in `factors [N, C]`; `channels` is C.
    fn scale_maps(&mut self, x: Self::Tensor<4>, factors: Self::Tensor<2>, channels: usize) -> Self::Tensor<4>;

    /// `x * sigmoid(x)` (Ramachandran, Zoph, Le, "Searching for activation functions", 2017).
    fn silu<const D: usize>(&mut self, x: Self::Tensor<D>) -> Self::Tensor<D> {
        let gate = self.sigmoid(x.clone());
        self.mul(x, gate)
    }

    /// `x [N, F]`, each column multiplied by its scale and increased by its shift.
    fn column_affine(&mut self, x: Self::Tensor<2>, scales: &[f32], shifts: &[f32]) -> Self::Tensor<2> {
        let (scales, shifts) = (self.row(scales), self.row(shifts));
        let scaled = self.mul(x, scales);
        self.add(scaled, shifts)
    }

    /// `x [N, I]` times a row-major matrix `[I, outputs]`.
    fn matmul_constant(&mut self, x: Self::Tensor<2>, matrix: &[f32], outputs: usize) -> Self::Tensor<2> {
        let matrix = self.constant(matrix, [matrix.len() / outputs, outputs]);
        self.matmul(x, matrix)
    }
}

/// Layers with learned parameters, kept as burn's modules on backend `B`.
pub trait LayerOps<B: Backend>: TensorOps {
    /// `x [.., I] -> [.., O]`, in 32 bits.
    fn linear<const D: usize>(&mut self, layer: &Linear<B>, x: Self::Tensor<D>) -> Self::Tensor<D>;
    /// Several layers applied to the same `x [.., I]`, in bfloat16 where the training asks for it (`mixed`).
    fn mixed_linears<const D: usize, const K: usize>(
        &mut self,
        layers: [&Linear<B>; K],
        x: Self::Tensor<D>,
    ) -> [Self::Tensor<D>; K];
    /// Layer normalisation along the last dimension. `epsilon` must be the layer's own, which burn does not expose.
    fn layer_norm<const D: usize>(&mut self, layer: &LayerNorm<B>, epsilon: f64, x: Self::Tensor<D>)
    -> Self::Tensor<D>;
    /// One learned number per column, `[1, F]`, to be broadcast over rows.
    fn learned_row(&mut self, row: &Param<Tensor<B, 1>>) -> Self::Tensor<2>;
    /// `x * tanh(gate)` with a single learned number.
    fn gated<const D: usize>(&mut self, gate: &Param<Tensor<B, 1>>, x: Self::Tensor<D>) -> Self::Tensor<D>;
    /// The sum of token and position embeddings for `ids [N, length]`: `[N, length, W]`. `tables` are first that of the tokens,
    /// `[V, W]`, then that of the positions, with W columns and at least `length` rows.
    fn embed(&mut self, tables: [&Param<Tensor<B, 2>>; 2], ids: Self::Ids, length: usize) -> Self::Tensor<3>;
    /// The rows of `table [V, W]` for `ids [N, length]`: `[N, length, W]`. Each row must be whole numbers from -127 to 127 times a factor
    /// of its own; graphs keep a byte for each number.
    fn rounded_lookup(&mut self, table: &Param<Tensor<B, 2>>, ids: Self::Ids, length: usize) -> Self::Tensor<3>;
    /// `patches [N, P, W]` behind a class token `[W]`, with `positions [P + 1, W]` added: `[N, P + 1, W]`.
    fn prepend_class(
        &mut self,
        class: &Param<Tensor<B, 1>>,
        positions: &Param<Tensor<B, 2>>,
        patches: Self::Tensor<3>,
    ) -> Self::Tensor<3>;
    /// A convolution without bias, in bfloat16 where the training asks for it (`mixed`).
    fn mixed_conv(&mut self, weight: &Param<Tensor<B, 4>>, shape: ConvShape, x: Self::Tensor<4>) -> Self::Tensor<4>;
    /// [`LayerOps::mixed_conv`] and the batch normalisation behind it. Graphs get one convolution that does both with the running
    /// statistics.
    fn norm_conv(
        &mut self,
        weight: &Param<Tensor<B, 4>>,
        norm: &BatchNorm<B>,
        shape: ConvShape,
        x: Self::Tensor<4>,
    ) -> Self::Tensor<4>;

    /// `x [.., I] -> [.., O]`, in bfloat16 where the training asks for it (`mixed`).
    fn mixed_linear<const D: usize>(&mut self, layer: &Linear<B>, x: Self::Tensor<D>) -> Self::Tensor<D> {
        let [y] = self.mixed_linears([layer], x);
        y
    }
}
