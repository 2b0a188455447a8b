//! The operations written as nodes of an ONNX graph (opset 17, <https://onnx.ai/onnx/operators/>). Parameters become constants.

use std::ops::Range;

use burn::module::Param;
use burn::nn::{BatchNorm, Dropout, LayerNorm, Linear};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{ConvShape, FixedConv, LayerOps, TensorOps};
use crate::model::values::{values, weights};
use crate::onnx::{GraphBuilder, Value, float, int, ints};

impl TensorOps for GraphBuilder {
    type Tensor<const D: usize> = Value;
    type Ids = Value;

    fn add<const D: usize>(&mut self, a: Value, b: Value) -> Value {
        self.node("Add", &[&a, &b], vec![])
    }
    fn sub<const D: usize>(&mut self, a: Value, b: Value) -> Value {
        self.node("Sub", &[&a, &b], vec![])
    }
    fn mul<const D: usize>(&mut self, a: Value, b: Value) -> Value {
        self.node("Mul", &[&a, &b], vec![])
    }
    fn div<const D: usize>(&mut self, a: Value, b: Value) -> Value {
        self.node("Div", &[&a, &b], vec![])
    }
    fn affine<const D: usize>(&mut self, x: Value, scale: f32, shift: f32) -> Value {
        let mut y = x;
        if scale != 1.0 {
            let scale = self.scalar(scale);
            y = self.node("Mul", &[&y, &scale], vec![]);
        }
        if shift != 0.0 {
            let shift = self.scalar(shift);
            y = self.node("Add", &[&y, &shift], vec![]);
        }
        y
    }
    fn abs<const D: usize>(&mut self, x: Value) -> Value {
        self.node("Abs", &[&x], vec![])
    }
    fn sqrt<const D: usize>(&mut self, x: Value) -> Value {
        self.node("Sqrt", &[&x], vec![])
    }
    fn exp<const D: usize>(&mut self, x: Value) -> Value {
        self.node("Exp", &[&x], vec![])
    }
    fn log<const D: usize>(&mut self, x: Value) -> Value {
        self.node("Log", &[&x], vec![])
    }
    fn clip<const D: usize>(&mut self, x: Value, low: f32, high: f32) -> Value {
        let (low, high) = (self.scalar(low), self.scalar(high));
        self.node("Clip", &[&x, &low, &high], vec![])
    }
    fn relu<const D: usize>(&mut self, x: Value) -> Value {
        self.node("Relu", &[&x], vec![])
    }
    fn sigmoid<const D: usize>(&mut self, x: Value) -> Value {
        self.node("Sigmoid", &[&x], vec![])
    }
    /// `x * (1 + erf(x / sqrt 2)) / 2`: opset 17 has no operator for it.
    fn gelu<const D: usize>(&mut self, x: Value) -> Value {
        let scaled = self.affine::<D>(x.clone(), std::f32::consts::FRAC_1_SQRT_2, 0.0);
        let erf = self.node("Erf", &[&scaled], vec![]);
        let gate = self.affine::<D>(erf, 0.5, 0.5);
        self.node("Mul", &[&x, &gate], vec![])
    }
    fn softmax<const D: usize>(&mut self, x: Value, dim: usize) -> Value {
        self.node("Softmax", &[&x], vec![int("axis", dim as i64)])
    }
    /// Returns the input unchanged, because graphs are for inference.
    fn dropout<const D: usize>(&mut self, _dropout: &Dropout, x: Value) -> Value {
        x
    }

    fn reshape<const D: usize, const R: usize>(&mut self, x: Value, dims: [i64; R]) -> Value {
        let dims = self.integers(&dims);
        self.node("Reshape", &[&x, &dims], vec![])
    }
    fn permute<const D: usize>(&mut self, x: Value, order: [usize; D]) -> Value {
        self.node("Transpose", &[&x], vec![ints("perm", &order.map(|dim| dim as i64))])
    }
    fn slice<const D: usize>(&mut self, x: Value, dim: usize, range: Range<usize>) -> Value {
        slice_axis(self, &x, dim, [range.start as i64, range.end as i64])
    }
    fn concat<const D: usize>(&mut self, parts: Vec<Value>, dim: usize) -> Value {
        self.node("Concat", &parts.iter().collect::<Vec<_>>(), vec![int("axis", dim as i64)])
    }
    fn sum<const D: usize, const R: usize>(&mut self, x: Value, dim: usize) -> Value {
        let axes = self.integers(&[dim as i64]);
        self.node("ReduceSum", &[&x, &axes], vec![int("keepdims", 0)])
    }
    fn max<const D: usize>(&mut self, x: Value, dim: usize) -> Value {
        self.node("ReduceMax", &[&x], vec![ints("axes", &[dim as i64]), int("keepdims", 1)])
    }
    fn matmul<const D: usize>(&mut self, a: Value, b: Value) -> Value {
        self.node("MatMul", &[&a, &b], vec![])
    }
    fn mixed_matmul<const D: usize>(&mut self, a: Value, b: Value) -> Value {
        self.matmul::<D>(a, b)
    }

    fn constant<const D: usize>(&mut self, values: &[f32], dims: [usize; D]) -> Value {
        self.constant(values, &dims)
    }
    fn row(&mut self, values: &[f32]) -> Value {
        self.constant(values, &[values.len()])
    }
    fn equals(&mut self, ids: Value, id: i64) -> Value {
        let id = self.integer(id);
        let equal = self.node("Equal", &[&ids, &id], vec![]);
        self.to_f32(&equal)
    }
    fn ids_to_floats(&mut self, ids: Value) -> Value {
        self.to_f32(&ids)
    }

    fn conv(&mut self, x: Value, conv: &FixedConv) -> Value {
        let weights = self.constant(&conv.weights, &conv.dims());
        let bias = self.row(&conv.bias);
        conv_node(self, [&x, &weights, &bias], [conv.size, conv.stride, [0; 2]], conv.groups)
    }
    fn channels(&mut self, x: Value, range: Range<usize>) -> Value {
        self.slice::<4>(x, 1, range)
    }
    fn crop(&mut self, x: Value, [top, bottom, left, right]: [usize; 4]) -> Value {
        let mut y = x;
        for (axis, low, high) in [(2, top, bottom), (3, left, right)] {
            if low + high > 0 {
                // A negative end counts from the back. To cut nothing there, the end must lie beyond the last pixel, because -0 is 0.
                let end = if high == 0 { i64::from(i32::MAX) } else { -(high as i64) };
                y = slice_axis(self, &y, axis, [low as i64, end]);
            }
        }
        y
    }
    fn mean_of_maps(&mut self, x: Value) -> Value {
        let mean =
            |g: &mut Self, x: &Value, axis| g.node("ReduceMean", &[x], vec![ints("axes", &[axis]), int("keepdims", 0)]);
        let lines = mean(self, &x, 3);
        mean(self, &lines, 2)
    }
    fn scale_maps(&mut self, x: Value, factors: Value, channels: usize) -> Value {
        let factors = self.reshape::<2, 4>(factors, [-1, channels as i64, 1, 1]);
        self.node("Mul", &[&x, &factors], vec![])
    }
}

impl<B: Backend> LayerOps<B> for GraphBuilder {
    fn linear<const D: usize>(&mut self, layer: &Linear<B>, x: Value) -> Value {
        let [inputs, outputs] = layer.weight.dims();
        let bias = layer.bias.as_ref().map_or_else(|| vec![0.0; outputs], weights);
        let weight = self.constant(&weights(&layer.weight), &[inputs, outputs]);
        let bias = self.row(&bias);
        let product = self.node("MatMul", &[&x, &weight], vec![]);
        self.node("Add", &[&product, &bias], vec![])
    }
    fn mixed_linears<const D: usize, const K: usize>(&mut self, layers: [&Linear<B>; K], x: Value) -> [Value; K] {
        layers.map(|layer| LayerOps::<B>::linear::<D>(self, layer, x.clone()))
    }
    fn layer_norm<const D: usize>(&mut self, layer: &LayerNorm<B>, epsilon: f64, x: Value) -> Value {
        let scale = weights(&layer.gamma);
        let shift = layer.beta.as_ref().map_or_else(|| vec![0.0; scale.len()], weights);
        let (scale, shift) = (self.row(&scale), self.row(&shift));
        let attributes = vec![int("axis", -1), float("epsilon", epsilon as f32)];
        self.node("LayerNormalization", &[&x, &scale, &shift], attributes)
    }
    fn learned_row(&mut self, row: &Param<Tensor<B, 1>>) -> Value {
        self.row(&weights(row))
    }
    fn gated<const D: usize>(&mut self, gate: &Param<Tensor<B, 1>>, x: Value) -> Value {
        let open = weights(gate).first().copied().unwrap_or(0.0).tanh();
        self.affine::<D>(x, open, 0.0)
    }
    fn embed(&mut self, [tokens, positions]: [&Param<Tensor<B, 2>>; 2], ids: Value, length: usize) -> Value {
        let [vocabulary, width] = tokens.dims();
        let table = self.constant(&weights(tokens), &[vocabulary, width]);
        let positions = self.constant(&weights(positions)[..length * width], &[length, width]);
        let looked_up = self.node("Gather", &[&table, &ids], vec![int("axis", 0)]);
        self.node("Add", &[&looked_up, &positions], vec![])
    }
    fn rounded_lookup(&mut self, table: &Param<Tensor<B, 2>>, ids: Value, _length: usize) -> Value {
        let [rows, width] = table.dims();
        let (bytes, factors) = as_bytes(&weights(table), width);
        let (bytes, factors) = (self.bytes(&bytes, &[rows, width]), self.constant(&factors, &[rows, 1]));
        let looked_up = self.node("Gather", &[&bytes, &ids], vec![int("axis", 0)]);
        let whole = self.to_f32(&looked_up);
        let factor = self.node("Gather", &[&factors, &ids], vec![int("axis", 0)]);
        self.node("Mul", &[&whole, &factor], vec![])
    }
    /// Pads the patches with a row of zeros in front and adds the class token to the first row of the positions. No operator then needs
    /// to know the size of the batch.
    fn prepend_class(&mut self, class: &Param<Tensor<B, 1>>, positions: &Param<Tensor<B, 2>>, patches: Value) -> Value {
        let [tokens, width] = positions.dims();
        let (pads, zero) = (self.integers(&[0, 1, 0, 0, 0, 0]), self.scalar(0.0));
        let padded = self.node("Pad", &[&patches, &pads, &zero], vec![]);
        let mut added = weights(positions);
        added.iter_mut().zip(weights(class)).for_each(|(position, class)| *position += class);
        let added = self.constant(&added, &[tokens, width]);
        self.node("Add", &[&padded, &added], vec![])
    }
    fn mixed_conv(&mut self, weight: &Param<Tensor<B, 4>>, shape: ConvShape, x: Value) -> Value {
        let dims = weight.dims();
        let weight = self.constant(&weights(weight), &dims);
        let bias = self.row(&vec![0.0; dims[0]]);
        conv_node(self, [&x, &weight, &bias], [[shape.kernel; 2], [shape.stride; 2], shape.padding], shape.groups)
    }
    fn norm_conv(&mut self, weight: &Param<Tensor<B, 4>>, norm: &BatchNorm<B>, shape: ConvShape, x: Value) -> Value {
        let dims = weight.dims();
        let (mean, variance) = (values(norm.running_mean.value()), values(norm.running_var.value()));
        let (gamma, beta) = (weights(&norm.gamma), weights(&norm.beta));
        let scale: Vec<f32> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + norm.epsilon as f32).sqrt()).collect();
        let bias: Vec<f32> =
            beta.iter().zip(mean.iter().zip(&scale)).map(|(beta, (mean, scale))| beta - mean * scale).collect();
        let each = dims[1] * dims[2] * dims[3];
        let folded: Vec<f32> = weights(weight).into_iter().enumerate().map(|(at, w)| w * scale[at / each]).collect();
        let weight = self.constant(&folded, &dims);
        let bias = self.row(&bias);
        conv_node(self, [&x, &weight, &bias], [[shape.kernel; 2], [shape.stride; 2], shape.padding], shape.groups)
    }
}

/// Splits each row of `width` numbers into whole numbers from -127 to 127 and a factor.
fn as_bytes(table: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let factors: Vec<f32> =
        table.chunks(width).map(|row| row.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 127.0).collect();
    let whole = |(row, factor): (&[f32], &f32)| -> Vec<i8> {
        row.iter().map(|v| if *factor > 0.0 { (v / factor).round() as i8 } else { 0 }).collect()
    };
    (table.chunks(width).zip(&factors).flat_map(whole).collect(), factors)
}

/// Adds a `Conv` node for `x [N, C, H, W]`, `weight [O, C / groups, height, width]` and `bias [O]`. `padding` is the number of rows of
/// zeros above and below the maps, and of columns left and right of them.
fn conv_node(
    g: &mut GraphBuilder,
    [x, weight, bias]: [&Value; 3],
    [size, stride, padding]: [[usize; 2]; 3],
    groups: usize,
) -> Value {
    let [size, stride, [before, after]] = [size, stride, padding].map(|pair| pair.map(|n| n as i64));
    let attributes = vec![
        ints("kernel_shape", &size),
        ints("strides", &stride),
        ints("pads", &[before, before, after, after]),
        int("group", groups as i64),
    ];
    g.node("Conv", &[x, weight, bias], attributes)
}

/// The part `start..end` of one axis; a negative `end` counts from the back.
fn slice_axis(g: &mut GraphBuilder, x: &Value, axis: usize, [start, end]: [i64; 2]) -> Value {
    let (start, end, axis) = (g.integers(&[start]), g.integers(&[end]), g.integers(&[axis as i64]));
    g.node("Slice", &[x, &start, &end, &axis], vec![])
}
