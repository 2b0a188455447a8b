//! The operations, computed immediately with burn.

use std::ops::Range;

use burn::module::Param;
use burn::nn::{BatchNorm, Dropout, LayerNorm, Linear};
use burn::tensor::activation::{gelu, relu, sigmoid, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Int, Tensor, TensorData};

use super::batch_norm::batch_norm;
use super::{ConvShape, FixedConv, LayerOps, TensorOps};
use crate::model::mixed;

/// Carries out operations on a device.
#[derive(Debug)]
pub struct Compute<B: Backend> {
    device: B::Device,
}

impl<B: Backend> Compute<B> {
    /// Operations on tensors of `device`.
    pub fn new(device: B::Device) -> Self {
        Self { device }
    }
}

impl<B: Backend> TensorOps for Compute<B> {
    type Tensor<const D: usize> = Tensor<B, D>;
    type Ids = Tensor<B, 2, Int>;

    fn add<const D: usize>(&mut self, a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
        a + b
    }
    fn sub<const D: usize>(&mut self, a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
        a - b
    }
    fn mul<const D: usize>(&mut self, a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
        a * b
    }
    fn div<const D: usize>(&mut self, a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
        a / b
    }
    fn affine<const D: usize>(&mut self, x: Tensor<B, D>, scale: f32, shift: f32) -> Tensor<B, D> {
        let x = if scale == 1.0 { x } else { x * scale };
        if shift == 0.0 { x } else { x + shift }
    }
    fn abs<const D: usize>(&mut self, x: Tensor<B, D>) -> Tensor<B, D> {
        x.abs()
    }
    fn sqrt<const D: usize>(&mut self, x: Tensor<B, D>) -> Tensor<B, D> {
        x.sqrt()
    }
    fn exp<const D: usize>(&mut self, x: Tensor<B, D>) -> Tensor<B, D> {
        x.exp()
    }
    fn log<const D: usize>(&mut self, x: Tensor<B, D>) -> Tensor<B, D> {
        x.log()
    }
    fn clip<const D: usize>(&mut self, x: Tensor<B, D>, low: f32, high: f32) -> Tensor<B, D> {
        x.clamp(low, high)
    }
    fn relu<const D: usize>(&mut self, x: Tensor<B, D>) -> Tensor<B, D> {
        relu(x)
    }
    fn sigmoid<const D: usize>(&mut self, x: Tensor<B, D>) -> Tensor<B, D> {
        sigmoid(x)
    }
    fn gelu<const D: usize>(&mut self, x: Tensor<B, D>) -> Tensor<B, D> {
        gelu(x)
    }
    fn softmax<const D: usize>(&mut self, x: Tensor<B, D>, dim: usize) -> Tensor<B, D> {
        softmax(x, dim)
    }
    fn dropout<const D: usize>(&mut self, dropout: &Dropout, x: Tensor<B, D>) -> Tensor<B, D> {
        dropout.forward(x)
    }

    fn reshape<const D: usize, const R: usize>(&mut self, x: Tensor<B, D>, dims: [i64; R]) -> Tensor<B, R> {
        x.reshape(dims)
    }
    fn permute<const D: usize>(&mut self, x: Tensor<B, D>, order: [usize; D]) -> Tensor<B, D> {
        x.permute(order)
    }
    fn slice<const D: usize>(&mut self, x: Tensor<B, D>, dim: usize, range: Range<usize>) -> Tensor<B, D> {
        x.narrow(dim, range.start, range.len())
    }
    fn concat<const D: usize>(&mut self, parts: Vec<Tensor<B, D>>, dim: usize) -> Tensor<B, D> {
        Tensor::cat(parts, dim)
    }
    fn sum<const D: usize, const R: usize>(&mut self, x: Tensor<B, D>, dim: usize) -> Tensor<B, R> {
        x.sum_dim(dim).squeeze_dim(dim)
    }
    fn max<const D: usize>(&mut self, x: Tensor<B, D>, dim: usize) -> Tensor<B, D> {
        x.max_dim(dim)
    }
    fn matmul<const D: usize>(&mut self, a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
        a.matmul(b)
    }
    fn mixed_matmul<const D: usize>(&mut self, a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
        mixed::matmul(a, b)
    }

    fn constant<const D: usize>(&mut self, values: &[f32], dims: [usize; D]) -> Tensor<B, D> {
        Tensor::from_data(TensorData::new(values.to_vec(), dims), &self.device)
    }
    fn row(&mut self, values: &[f32]) -> Tensor<B, 2> {
        self.constant(values, [1, values.len()])
    }
    fn equals(&mut self, ids: Tensor<B, 2, Int>, id: i64) -> Tensor<B, 2> {
        ids.equal_elem(id).float()
    }
    fn ids_to_floats(&mut self, ids: Tensor<B, 2, Int>) -> Tensor<B, 2> {
        ids.float()
    }

    fn conv(&mut self, x: Tensor<B, 4>, conv: &FixedConv) -> Tensor<B, 4> {
        let weights = self.constant(&conv.weights, conv.dims());
        let is_biased = conv.bias.iter().any(|bias| *bias != 0.0);
        if conv.stride == conv.size && conv.size != [1; 2] && conv.groups == 1 && !is_biased {
            return blocks(x, weights);
        }
        let bias = self.constant(&conv.bias, [conv.bias.len()]);
        conv2d(x, weights, Some(bias), ConvOptions::new(conv.stride, [0, 0], [1, 1], conv.groups))
    }
    fn channels(&mut self, x: Tensor<B, 4>, range: Range<usize>) -> Tensor<B, 4> {
        contiguous(x.narrow(1, range.start, range.len()))
    }
    fn crop(&mut self, x: Tensor<B, 4>, [top, bottom, left, right]: [usize; 4]) -> Tensor<B, 4> {
        let [_, _, h, w] = x.dims();
        contiguous(x.narrow(2, top, h - top - bottom).narrow(3, left, w - left - right))
    }
    fn mean_of_maps(&mut self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        let [n, c, _, _] = x.dims();
        x.mean_dim(3).mean_dim(2).reshape([n, c])
    }
    /// Multiplies rows `[N * C, H * W]` instead of maps, because burn walks four broadcast dimensions element by element.
    fn scale_maps(&mut self, x: Tensor<B, 4>, factors: Tensor<B, 2>, _channels: usize) -> Tensor<B, 4> {
        let [n, c, h, w] = x.dims();
        (x.reshape([n * c, h * w]) * factors.reshape([n * c, 1])).reshape([n, c, h, w])
    }
}

impl<B: Backend> LayerOps<B> for Compute<B> {
    fn linear<const D: usize>(&mut self, layer: &Linear<B>, x: Tensor<B, D>) -> Tensor<B, D> {
        let [y] = on_rows(x, |rows| [layer.forward(rows)]);
        y
    }
    fn mixed_linears<const D: usize, const K: usize>(
        &mut self,
        layers: [&Linear<B>; K],
        x: Tensor<B, D>,
    ) -> [Tensor<B, D>; K] {
        on_rows(x, |rows| layers.map(|layer| mixed::linear(layer, rows.clone())))
    }
    fn layer_norm<const D: usize>(&mut self, layer: &LayerNorm<B>, _epsilon: f64, x: Tensor<B, D>) -> Tensor<B, D> {
        layer.forward(x)
    }
    fn learned_row(&mut self, row: &Param<Tensor<B, 1>>) -> Tensor<B, 2> {
        row.val().unsqueeze()
    }
    fn gated<const D: usize>(&mut self, gate: &Param<Tensor<B, 1>>, x: Tensor<B, D>) -> Tensor<B, D> {
        x * gate.val().tanh().reshape([1; D])
    }
    fn embed(
        &mut self,
        [tokens, positions]: [&Param<Tensor<B, 2>>; 2],
        ids: Tensor<B, 2, Int>,
        length: usize,
    ) -> Tensor<B, 3> {
        let ([n, _], width) = (ids.dims(), tokens.dims()[1]);
        let looked_up = tokens.val().select(0, ids.reshape([n * length])).reshape([n, length, width]);
        let positions = positions.val();
        let positions = if positions.dims()[0] == length { positions } else { positions.narrow(0, 0, length) };
        looked_up + positions.unsqueeze::<3>()
    }
    fn rounded_lookup(&mut self, table: &Param<Tensor<B, 2>>, ids: Tensor<B, 2, Int>, length: usize) -> Tensor<B, 3> {
        let ([n, _], width) = (ids.dims(), table.dims()[1]);
        table.val().select(0, ids.reshape([n * length])).reshape([n, length, width])
    }
    fn prepend_class(
        &mut self,
        class: &Param<Tensor<B, 1>>,
        positions: &Param<Tensor<B, 2>>,
        patches: Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let [n, _, width] = patches.dims();
        let class = class.val().reshape([1, 1, width]).repeat_dim(0, n);
        Tensor::cat(vec![class, patches], 1) + positions.val().unsqueeze::<3>()
    }
    fn mixed_conv(&mut self, weight: &Param<Tensor<B, 4>>, shape: ConvShape, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let ConvShape { stride, padding: [before, after], groups, .. } = shape;
        // burn pads both sides alike, so only the difference needs a copy of the input.
        let common = before.min(after);
        let more = (before - common, after - common);
        let x = if more == (0, 0) { x } else { x.pad((more.0, more.1, more.0, more.1), 0.0) };
        mixed::conv2d(x, weight.val(), None, ConvOptions::new([stride; 2], [common; 2], [1, 1], groups))
    }
    fn norm_conv(
        &mut self,
        weight: &Param<Tensor<B, 4>>,
        norm: &BatchNorm<B>,
        shape: ConvShape,
        x: Tensor<B, 4>,
    ) -> Tensor<B, 4> {
        batch_norm(norm, self.mixed_conv(weight, shape, x))
    }
}

/// Applies layers to the rows of `x [.., I]`: burn's linear layer is much slower on three dimensions than on two.
fn on_rows<B: Backend, const D: usize, const K: usize>(
    x: Tensor<B, D>,
    layers: impl FnOnce(Tensor<B, 2>) -> [Tensor<B, 2>; K],
) -> [Tensor<B, D>; K] {
    let mut dims = x.dims();
    let inputs = dims[D - 1];
    let rows = dims[..D - 1].iter().product::<usize>();
    layers(x.reshape([rows, inputs])).map(|y| {
        dims[D - 1] = y.dims()[1];
        y.reshape(dims)
    })
}

/// Copies a view to contiguous memory. The copy is fast, but later operations on a view walk it element by element.
fn contiguous<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    let dims = x.dims();
    x.reshape([dims.iter().product::<usize>()]).reshape(dims)
}

/// A convolution without bias whose windows do not overlap, as one matrix product: burn's own convolution goes pixel by pixel
/// where there are few input channels.
fn blocks<B: Backend>(x: Tensor<B, 4>, weights: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    let [outputs, _, height, width] = weights.dims();
    let (rows, columns) = (h / height, w / width);
    let whole = x.narrow(2, 0, rows * height).narrow(3, 0, columns * width);
    let windows = whole.reshape([n, c, rows, height, columns, width]).permute([0, 2, 4, 1, 3, 5]);
    let windows = windows.reshape([n * rows * columns, c * height * width]);
    let weights = weights.reshape([outputs, c * height * width]).transpose();
    contiguous(windows.matmul(weights).reshape([n, rows, columns, outputs]).permute([0, 3, 1, 2]))
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::Distribution;

    use super::*;
    use crate::model::values::values;

    #[test]
    fn every_map_is_multiplied_by_its_own_factor() {
        let device = Default::default();
        let x = Tensor::<Flex, 4>::random([2, 3, 4, 4], Distribution::Normal(0.5, 2.0), &device);
        let factors = Tensor::<Flex, 2>::random([2, 3], Distribution::Normal(0.5, 2.0), &device);
        let plain = values(x.clone() * factors.clone().reshape([2, 3, 1, 1]));
        let found = values(Compute::<Flex>::new(device).scale_maps(x, factors, 3));
        assert_eq!(found.len(), plain.len());
        assert!(found.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
