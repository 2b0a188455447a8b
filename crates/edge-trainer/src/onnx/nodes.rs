//! One method per operator of ONNX opset 17 that the networks use. Shapes follow the operator's own documentation at
//! <https://onnx.ai/onnx/operators/>.

use tract_onnx::pb::tensor_proto::DataType;

use super::builder::{GraphBuilder, Value, float, int, ints};

/// Kernel, stride and zero padding of a square convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Side of the kernel.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Zeros added at each border.
    pub padding: usize,
    /// Groups of channels that see only each other.
    pub groups: usize,
}

impl GraphBuilder {
    /// `Conv`: `x [N,C,H,W]`, `weight [O,C/groups,K,K]`, `bias [O]`.
    pub fn conv(&mut self, x: &Value, weight: &Value, bias: &Value, shape: ConvShape) -> Value {
        let (k, s, p) = (shape.kernel as i64, shape.stride as i64, shape.padding as i64);
        let attributes = vec![
            ints("kernel_shape", &[k, k]),
            ints("strides", &[s, s]),
            ints("pads", &[p, p, p, p]),
            int("group", shape.groups as i64),
        ];
        self.node("Conv", &[x, weight, bias], attributes)
    }

    /// `Add` with broadcasting.
    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Add", &[a, b], vec![])
    }

    /// `Sub` with broadcasting.
    pub fn sub(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Sub", &[a, b], vec![])
    }

    /// `Mul` with broadcasting.
    pub fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Mul", &[a, b], vec![])
    }

    /// `Div` with broadcasting.
    pub fn div(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Div", &[a, b], vec![])
    }

    /// `x * scale + shift`, with what is neutral left out.
    pub fn affine(&mut self, x: &Value, scale: f32, shift: f32) -> Value {
        let mut y = x.clone();
        if scale != 1.0 {
            let scale = self.scalar(scale);
            y = self.mul(&y, &scale);
        }
        if shift != 0.0 {
            let shift = self.scalar(shift);
            y = self.add(&y, &shift);
        }
        y
    }

    /// `Relu`.
    pub fn relu(&mut self, x: &Value) -> Value {
        self.node("Relu", &[x], vec![])
    }

    /// `Abs`.
    pub fn abs(&mut self, x: &Value) -> Value {
        self.node("Abs", &[x], vec![])
    }

    /// `Sqrt`.
    pub fn sqrt(&mut self, x: &Value) -> Value {
        self.node("Sqrt", &[x], vec![])
    }

    /// `Exp`.
    pub fn exp(&mut self, x: &Value) -> Value {
        self.node("Exp", &[x], vec![])
    }

    /// `Log`, natural.
    pub fn log(&mut self, x: &Value) -> Value {
        self.node("Log", &[x], vec![])
    }

    /// `Clip` to `low..=high`.
    pub fn clip(&mut self, x: &Value, low: f32, high: f32) -> Value {
        let (low, high) = (self.scalar(low), self.scalar(high));
        self.node("Clip", &[x, &low, &high], vec![])
    }

    /// `x * sigmoid(slope * x)`.
    pub fn quick_gelu(&mut self, x: &Value, slope: f32) -> Value {
        let steep = self.affine(x, slope, 0.0);
        let gate = self.sigmoid(&steep);
        self.mul(x, &gate)
    }

    /// `x * (1 + erf(x / sqrt 2)) / 2`; opset 17 has no operator for it.
    pub fn gelu(&mut self, x: &Value) -> Value {
        let scaled = self.affine(x, std::f32::consts::FRAC_1_SQRT_2, 0.0);
        let erf = self.node("Erf", &[&scaled], vec![]);
        let gate = self.affine(&erf, 0.5, 0.5);
        self.mul(x, &gate)
    }

    /// `Sigmoid`.
    pub fn sigmoid(&mut self, x: &Value) -> Value {
        self.node("Sigmoid", &[x], vec![])
    }

    /// `Tanh`.
    pub fn tanh(&mut self, x: &Value) -> Value {
        self.node("Tanh", &[x], vec![])
    }

    /// `Cast` to 32-bit floats.
    pub fn to_f32(&mut self, x: &Value) -> Value {
        self.node("Cast", &[x], vec![int("to", DataType::Float as i64)])
    }

    /// `Pad` with `count` zeros in front of one axis of a tensor of `rank` dimensions.
    pub fn pad_front(&mut self, x: &Value, axis: usize, count: i64, rank: usize) -> Value {
        let pads: Vec<i64> = (0..2 * rank).map(|at| if at == axis { count } else { 0 }).collect();
        let (pads, zero) = (self.integers(&pads), self.scalar(0.0));
        self.node("Pad", &[x, &pads, &zero], vec![])
    }

    /// `MatMul` of the last two dimensions, the others broadcast.
    pub fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("MatMul", &[a, b], vec![])
    }

    /// `Softmax` along `axis`.
    pub fn softmax(&mut self, x: &Value, axis: i64) -> Value {
        self.node("Softmax", &[x], vec![int("axis", axis)])
    }

    /// `LayerNormalization` along the last dimension.
    pub fn layer_norm(&mut self, x: &Value, scale: &Value, bias: &Value, epsilon: f32) -> Value {
        self.node("LayerNormalization", &[x, scale, bias], vec![int("axis", -1), float("epsilon", epsilon)])
    }

    /// `ReduceMean` over `axes`, which disappear.
    pub fn mean(&mut self, x: &Value, axes: &[i64]) -> Value {
        self.node("ReduceMean", &[x], vec![ints("axes", axes), int("keepdims", 0)])
    }

    /// Mean over H and W, `[N, C, H, W]` -> `[N, C]`. Line by line first: engines add a whole map up in one running sum, which
    /// loses the digits that a variance `E x^2 - (E x)^2` is made of.
    pub fn mean_of_maps(&mut self, x: &Value) -> Value {
        let lines = self.mean(x, &[3]);
        self.mean(&lines, &[2])
    }

    /// `ReduceMax` over `axes`, which stay with length one.
    pub fn max_keep(&mut self, x: &Value, axes: &[i64]) -> Value {
        self.node("ReduceMax", &[x], vec![ints("axes", axes), int("keepdims", 1)])
    }

    /// `ReduceSum` over `axes`, which disappear.
    pub fn sum(&mut self, x: &Value, axes: &[i64]) -> Value {
        let axes = self.integers(axes);
        self.node("ReduceSum", &[x, &axes], vec![int("keepdims", 0)])
    }

    /// `Reshape`; 0 keeps a dimension, -1 takes what is left.
    pub fn reshape(&mut self, x: &Value, dims: &[i64]) -> Value {
        let dims = self.integers(dims);
        self.node("Reshape", &[x, &dims], vec![])
    }

    /// `Transpose`.
    pub fn transpose(&mut self, x: &Value, permutation: &[i64]) -> Value {
        self.node("Transpose", &[x], vec![ints("perm", permutation)])
    }

    /// `Slice` of one axis, `start..end`; a negative `end` counts from the back.
    pub fn slice(&mut self, x: &Value, axis: i64, start: i64, end: i64) -> Value {
        let (start, end, axis) = (self.integers(&[start]), self.integers(&[end]), self.integers(&[axis]));
        self.node("Slice", &[x, &start, &end, &axis], vec![])
    }

    /// `Concat` along `axis`.
    pub fn concat(&mut self, parts: &[&Value], axis: i64) -> Value {
        self.node("Concat", parts, vec![int("axis", axis)])
    }

    /// `Gather` of rows: `table [V,D]`, `ids [N,T]` -> `[N,T,D]`.
    pub fn gather_rows(&mut self, table: &Value, ids: &Value) -> Value {
        self.node("Gather", &[table, ids], vec![int("axis", 0)])
    }

    /// 1.0 where the integer tensor equals `value`, else 0.0.
    pub fn equals(&mut self, x: &Value, value: i64) -> Value {
        let value = self.integer(value);
        let equal = self.node("Equal", &[x, &value], vec![]);
        self.to_f32(&equal)
    }

    /// `x [.., I]` times `weight [I, O]` (row-major) plus `bias [O]`.
    pub fn linear(&mut self, x: &Value, weight: &[f32], bias: &[f32]) -> Value {
        let outputs = bias.len();
        let weight = self.constant(weight, &[weight.len() / outputs.max(1), outputs]);
        let bias = self.constant(bias, &[outputs]);
        let product = self.matmul(x, &weight);
        self.add(&product, &bias)
    }
}
