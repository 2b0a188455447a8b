//! The operations that the fixed part of the image encoder is written in, with two performers: burn computes, the graph
//! builder writes ONNX. One definition thus serves training and the exported graph, and the two cannot drift apart.

use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorData};

use crate::onnx::{ConvShape, GraphBuilder, Value};

/// A convolution with fixed weights and no padding.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Row-major `[outputs, inputs / groups, side, side]`.
    pub weights: Vec<f32>,
    /// One per output channel.
    pub bias: Vec<f32>,
    /// Side of the square kernel.
    pub side: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Groups of channels that see only each other.
    pub groups: usize,
}

impl Kernel {
    /// A kernel without bias.
    pub fn new(weights: Vec<f32>, outputs: usize, side: usize, stride: usize, groups: usize) -> Self {
        Self { weights, bias: vec![0.0; outputs], side, stride, groups }
    }

    fn dims(&self) -> [usize; 4] {
        let outputs = self.bias.len();
        let inputs = self.weights.len() / (outputs * self.side * self.side);
        [outputs, inputs, self.side, self.side]
    }
}

/// Operations on maps `[N, C, H, W]` and on rows `[N, F]`.
pub trait MapOps {
    /// A tensor `[N, C, H, W]`.
    type Map: Clone;
    /// A tensor `[N, F]`.
    type Row: Clone;

    /// Convolution without padding.
    fn conv(&mut self, x: &Self::Map, kernel: &Kernel) -> Self::Map;
    /// Element by element sum.
    fn add(&mut self, a: &Self::Map, b: &Self::Map) -> Self::Map;
    /// Element by element difference.
    fn sub(&mut self, a: &Self::Map, b: &Self::Map) -> Self::Map;
    /// Element by element product.
    fn mul(&mut self, a: &Self::Map, b: &Self::Map) -> Self::Map;
    /// Element by element quotient.
    fn div(&mut self, a: &Self::Map, b: &Self::Map) -> Self::Map;
    /// `x * scale + shift`.
    fn affine(&mut self, x: &Self::Map, scale: f32, shift: f32) -> Self::Map;
    /// `x * scale`, and to each channel its own shift.
    fn channel_affine(&mut self, x: &Self::Map, scale: f32, shifts: &[f32]) -> Self::Map;
    /// Absolute value.
    fn abs(&mut self, x: &Self::Map) -> Self::Map;
    /// `max(x, 0)`.
    fn relu(&mut self, x: &Self::Map) -> Self::Map;
    /// Square root.
    fn sqrt(&mut self, x: &Self::Map) -> Self::Map;
    /// Natural logarithm.
    fn log(&mut self, x: &Self::Map) -> Self::Map;
    /// Values held within `low..=high`.
    fn clip(&mut self, x: &Self::Map, low: f32, high: f32) -> Self::Map;
    /// The channels `from..to`.
    fn channels(&mut self, x: &Self::Map, from: usize, to: usize) -> Self::Map;
    /// The map without so many pixels at the `[top, bottom, left, right]`.
    fn crop(&mut self, x: &Self::Map, border: [usize; 4]) -> Self::Map;
    /// Mean over H and W.
    fn mean(&mut self, x: &Self::Map) -> Self::Row;
    /// Element by element sum.
    fn row_add(&mut self, a: &Self::Row, b: &Self::Row) -> Self::Row;
    /// Element by element difference.
    fn row_sub(&mut self, a: &Self::Row, b: &Self::Row) -> Self::Row;
    /// Element by element product.
    fn row_mul(&mut self, a: &Self::Row, b: &Self::Row) -> Self::Row;
    /// `x * scale + shift`.
    fn row_affine(&mut self, x: &Self::Row, scale: f32, shift: f32) -> Self::Row;
    /// `max(x, 0)`.
    fn row_relu(&mut self, x: &Self::Row) -> Self::Row;
    /// Square root.
    fn row_sqrt(&mut self, x: &Self::Row) -> Self::Row;
    /// Natural logarithm.
    fn row_log(&mut self, x: &Self::Row) -> Self::Row;
    /// `e` to the power of each value.
    fn row_exp(&mut self, x: &Self::Row) -> Self::Row;
    /// Values held within `low..=high`.
    fn row_clip(&mut self, x: &Self::Row, low: f32, high: f32) -> Self::Row;
    /// `x [N, F]`, each column times its scale and plus its shift.
    fn column_affine(&mut self, x: &Self::Row, scales: &[f32], shifts: &[f32]) -> Self::Row;
    /// `x [N, I]` times a row-major `[I, outputs]` matrix.
    fn row_matmul(&mut self, x: &Self::Row, matrix: &[f32], outputs: usize) -> Self::Row;
    /// The columns `from..to`.
    fn columns(&mut self, x: &Self::Row, from: usize, to: usize) -> Self::Row;
    /// The rows' columns, one after the other.
    fn row_stack(&mut self, rows: &[Self::Row]) -> Self::Row;
}

/// Performs the operations at once.
#[derive(Debug)]
pub struct Compute<B: Backend> {
    device: B::Device,
}

impl<B: Backend> Compute<B> {
    /// For tensors on `device`.
    pub fn new(device: B::Device) -> Self {
        Self { device }
    }
}

impl<B: Backend> MapOps for Compute<B> {
    type Map = Tensor<B, 4>;
    type Row = Tensor<B, 2>;

    fn conv(&mut self, x: &Self::Map, kernel: &Kernel) -> Self::Map {
        let weights = TensorData::new(kernel.weights.clone(), kernel.dims());
        let weights = Tensor::<B, 4>::from_data(weights, &self.device);
        if kernel.stride == kernel.side && kernel.side > 1 && kernel.groups == 1 {
            return blocks(x, weights);
        }
        let bias = Tensor::<B, 1>::from_data(kernel.bias.as_slice(), &self.device);
        let stride = [kernel.stride; 2];
        conv2d(x.clone(), weights, Some(bias), ConvOptions::new(stride, [0, 0], [1, 1], kernel.groups))
    }
    fn add(&mut self, a: &Self::Map, b: &Self::Map) -> Self::Map {
        a.clone() + b.clone()
    }
    fn sub(&mut self, a: &Self::Map, b: &Self::Map) -> Self::Map {
        a.clone() - b.clone()
    }
    fn mul(&mut self, a: &Self::Map, b: &Self::Map) -> Self::Map {
        a.clone() * b.clone()
    }
    fn div(&mut self, a: &Self::Map, b: &Self::Map) -> Self::Map {
        a.clone() / b.clone()
    }
    fn affine(&mut self, x: &Self::Map, scale: f32, shift: f32) -> Self::Map {
        x.clone() * scale + shift
    }
    fn channel_affine(&mut self, x: &Self::Map, scale: f32, shifts: &[f32]) -> Self::Map {
        let shifts = TensorData::new(shifts.to_vec(), [1, shifts.len(), 1, 1]);
        x.clone() * scale + Tensor::from_data(shifts, &self.device)
    }
    fn abs(&mut self, x: &Self::Map) -> Self::Map {
        x.clone().abs()
    }
    fn relu(&mut self, x: &Self::Map) -> Self::Map {
        burn::tensor::activation::relu(x.clone())
    }
    fn sqrt(&mut self, x: &Self::Map) -> Self::Map {
        x.clone().sqrt()
    }
    fn log(&mut self, x: &Self::Map) -> Self::Map {
        x.clone().log()
    }
    fn clip(&mut self, x: &Self::Map, low: f32, high: f32) -> Self::Map {
        x.clone().clamp(low, high)
    }
    fn channels(&mut self, x: &Self::Map, from: usize, to: usize) -> Self::Map {
        contiguous(x.clone().narrow(1, from, to - from))
    }
    fn crop(&mut self, x: &Self::Map, [top, bottom, left, right]: [usize; 4]) -> Self::Map {
        let [_, _, h, w] = x.dims();
        contiguous(x.clone().narrow(2, top, h - top - bottom).narrow(3, left, w - left - right))
    }
    fn mean(&mut self, x: &Self::Map) -> Self::Row {
        mean_of_maps(x.clone())
    }
    fn row_add(&mut self, a: &Self::Row, b: &Self::Row) -> Self::Row {
        a.clone() + b.clone()
    }
    fn row_sub(&mut self, a: &Self::Row, b: &Self::Row) -> Self::Row {
        a.clone() - b.clone()
    }
    fn row_mul(&mut self, a: &Self::Row, b: &Self::Row) -> Self::Row {
        a.clone() * b.clone()
    }
    fn row_affine(&mut self, x: &Self::Row, scale: f32, shift: f32) -> Self::Row {
        x.clone() * scale + shift
    }
    fn row_relu(&mut self, x: &Self::Row) -> Self::Row {
        burn::tensor::activation::relu(x.clone())
    }
    fn row_sqrt(&mut self, x: &Self::Row) -> Self::Row {
        x.clone().sqrt()
    }
    fn row_log(&mut self, x: &Self::Row) -> Self::Row {
        x.clone().log()
    }
    fn row_exp(&mut self, x: &Self::Row) -> Self::Row {
        x.clone().exp()
    }
    fn row_clip(&mut self, x: &Self::Row, low: f32, high: f32) -> Self::Row {
        x.clone().clamp(low, high)
    }
    fn column_affine(&mut self, x: &Self::Row, scales: &[f32], shifts: &[f32]) -> Self::Row {
        let row = |values: &[f32]| Tensor::<B, 1>::from_data(values, &self.device).unsqueeze::<2>();
        x.clone() * row(scales) + row(shifts)
    }
    fn row_matmul(&mut self, x: &Self::Row, matrix: &[f32], outputs: usize) -> Self::Row {
        let data = TensorData::new(matrix.to_vec(), [matrix.len() / outputs, outputs]);
        x.clone().matmul(Tensor::from_data(data, &self.device))
    }
    fn columns(&mut self, x: &Self::Row, from: usize, to: usize) -> Self::Row {
        x.clone().narrow(1, from, to - from)
    }
    fn row_stack(&mut self, rows: &[Self::Row]) -> Self::Row {
        Tensor::cat(rows.to_vec(), 1)
    }
}

/// Mean over H and W, `[N, C, H, W]` -> `[N, C]`. Line by line first: a single sum over a whole map loses digits that the other
/// engines keep.
pub fn mean_of_maps<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 2> {
    let [n, c, _, _] = x.dims();
    x.mean_dim(3).mean_dim(2).reshape([n, c])
}

/// The same values side by side in memory: burn walks a view element by element in all that follows, and copies it fast.
fn contiguous<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let dims = x.dims();
    x.reshape([dims.iter().product::<usize>()]).reshape(dims)
}

/// A convolution without bias whose windows do not overlap, as one matrix product: burn's own goes pixel by pixel where there
/// are few input channels.
fn blocks<B: Backend>(x: &Tensor<B, 4>, weights: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    let [outputs, _, side, _] = weights.dims();
    let (rows, columns) = (h / side, w / side);
    let whole = x.clone().narrow(2, 0, rows * side).narrow(3, 0, columns * side);
    let windows = whole.reshape([n, c, rows, side, columns, side]).permute([0, 2, 4, 1, 3, 5]);
    let windows = windows.reshape([n * rows * columns, c * side * side]);
    let weights = weights.reshape([outputs, c * side * side]).transpose();
    contiguous(windows.matmul(weights).reshape([n, rows, columns, outputs]).permute([0, 3, 1, 2]))
}

impl MapOps for GraphBuilder {
    type Map = Value;
    type Row = Value;

    fn conv(&mut self, x: &Value, kernel: &Kernel) -> Value {
        let weights = self.constant(&kernel.weights, &kernel.dims());
        let bias = self.constant(&kernel.bias, &[kernel.bias.len()]);
        let shape = ConvShape { kernel: kernel.side, stride: kernel.stride, padding: 0, groups: kernel.groups };
        GraphBuilder::conv(self, x, &weights, &bias, shape)
    }
    fn add(&mut self, a: &Value, b: &Value) -> Value {
        GraphBuilder::add(self, a, b)
    }
    fn sub(&mut self, a: &Value, b: &Value) -> Value {
        GraphBuilder::sub(self, a, b)
    }
    fn mul(&mut self, a: &Value, b: &Value) -> Value {
        GraphBuilder::mul(self, a, b)
    }
    fn div(&mut self, a: &Value, b: &Value) -> Value {
        GraphBuilder::div(self, a, b)
    }
    fn affine(&mut self, x: &Value, scale: f32, shift: f32) -> Value {
        GraphBuilder::affine(self, x, scale, shift)
    }
    fn channel_affine(&mut self, x: &Value, scale: f32, shifts: &[f32]) -> Value {
        let shifts = self.constant(shifts, &[1, shifts.len(), 1, 1]);
        if scale == -1.0 {
            return GraphBuilder::sub(self, &shifts, x);
        }
        let scaled = GraphBuilder::affine(self, x, scale, 0.0);
        GraphBuilder::add(self, &scaled, &shifts)
    }
    fn abs(&mut self, x: &Value) -> Value {
        GraphBuilder::abs(self, x)
    }
    fn relu(&mut self, x: &Value) -> Value {
        GraphBuilder::relu(self, x)
    }
    fn sqrt(&mut self, x: &Value) -> Value {
        GraphBuilder::sqrt(self, x)
    }
    fn log(&mut self, x: &Value) -> Value {
        GraphBuilder::log(self, x)
    }
    fn clip(&mut self, x: &Value, low: f32, high: f32) -> Value {
        GraphBuilder::clip(self, x, low, high)
    }
    fn channels(&mut self, x: &Value, from: usize, to: usize) -> Value {
        self.slice(x, 1, from as i64, to as i64)
    }
    fn crop(&mut self, x: &Value, [top, bottom, left, right]: [usize; 4]) -> Value {
        let mut y = x.clone();
        for (axis, low, high) in [(2, top, bottom), (3, left, right)] {
            if low + high > 0 {
                // The end counts from the back, but there is no "minus zero": an end beyond the last pixel serves.
                let end = if high == 0 { i64::from(i32::MAX) } else { -(high as i64) };
                y = self.slice(&y, axis, low as i64, end);
            }
        }
        y
    }
    fn mean(&mut self, x: &Value) -> Value {
        self.mean_of_maps(x)
    }
    fn row_add(&mut self, a: &Value, b: &Value) -> Value {
        GraphBuilder::add(self, a, b)
    }
    fn row_sub(&mut self, a: &Value, b: &Value) -> Value {
        GraphBuilder::sub(self, a, b)
    }
    fn row_mul(&mut self, a: &Value, b: &Value) -> Value {
        GraphBuilder::mul(self, a, b)
    }
    fn row_affine(&mut self, x: &Value, scale: f32, shift: f32) -> Value {
        GraphBuilder::affine(self, x, scale, shift)
    }
    fn row_relu(&mut self, x: &Value) -> Value {
        GraphBuilder::relu(self, x)
    }
    fn row_sqrt(&mut self, x: &Value) -> Value {
        GraphBuilder::sqrt(self, x)
    }
    fn row_log(&mut self, x: &Value) -> Value {
        GraphBuilder::log(self, x)
    }
    fn row_exp(&mut self, x: &Value) -> Value {
        self.exp(x)
    }
    fn row_clip(&mut self, x: &Value, low: f32, high: f32) -> Value {
        GraphBuilder::clip(self, x, low, high)
    }
    fn column_affine(&mut self, x: &Value, scales: &[f32], shifts: &[f32]) -> Value {
        let (scales, shifts) = (self.constant(scales, &[scales.len()]), self.constant(shifts, &[shifts.len()]));
        let scaled = GraphBuilder::mul(self, x, &scales);
        GraphBuilder::add(self, &scaled, &shifts)
    }
    fn row_matmul(&mut self, x: &Value, matrix: &[f32], outputs: usize) -> Value {
        let matrix = self.constant(matrix, &[matrix.len() / outputs, outputs]);
        self.matmul(x, &matrix)
    }
    fn columns(&mut self, x: &Value, from: usize, to: usize) -> Value {
        self.slice(x, 1, from as i64, to as i64)
    }
    fn row_stack(&mut self, rows: &[Value]) -> Value {
        self.concat(&rows.iter().collect::<Vec<_>>(), 1)
    }
}
