//! Reads layers and parameters from weights in PyTorch's layout. PyTorch keeps a linear layer's matrix as `[outputs, inputs]`, burn
//! as `[inputs, outputs]`.

use burn::module::Param;
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use crate::weights::{WeightError, WeightSource};

/// A parameter of shape `shape`.
///
/// # Errors
/// [`WeightError`].
pub fn tensor<B: Backend, const D: usize>(
    weights: &mut dyn WeightSource,
    key: &str,
    shape: [usize; D],
    device: &B::Device,
) -> Result<Param<Tensor<B, D>>, WeightError> {
    let values = weights.take(key, &shape)?;
    Ok(param(values, shape, device))
}

/// A linear layer `[inputs, outputs]` from `{prefix}.weight` and, if `biased`, `{prefix}.bias`.
///
/// # Errors
/// [`WeightError`].
pub fn linear<B: Backend>(
    weights: &mut dyn WeightSource,
    prefix: &str,
    [inputs, outputs]: [usize; 2],
    biased: bool,
    device: &B::Device,
) -> Result<Linear<B>, WeightError> {
    let values = weights.take(&format!("{prefix}.weight"), &[outputs, inputs])?;
    let weight = param(transposed(&values, [inputs, outputs]), [inputs, outputs], device);
    let bias = biased.then(|| tensor(weights, &format!("{prefix}.bias"), [outputs], device)).transpose()?;
    Ok(Linear { weight, bias })
}

/// A linear layer that the file keeps as a convolution with bias and a kernel of one pixel.
///
/// # Errors
/// [`WeightError`].
pub fn pointwise<B: Backend>(
    weights: &mut dyn WeightSource,
    prefix: &str,
    [inputs, outputs]: [usize; 2],
    device: &B::Device,
) -> Result<Linear<B>, WeightError> {
    let values = weights.take(&format!("{prefix}.weight"), &[outputs, inputs, 1, 1])?;
    let weight = param(transposed(&values, [inputs, outputs]), [inputs, outputs], device);
    let bias = Some(tensor(weights, &format!("{prefix}.bias"), [outputs], device)?);
    Ok(Linear { weight, bias })
}

/// A layer normalisation over `length` values, from `{prefix}.weight` and `{prefix}.bias`.
///
/// # Errors
/// [`WeightError`].
pub fn layer_norm<B: Backend>(
    weights: &mut dyn WeightSource,
    prefix: &str,
    length: usize,
    epsilon: f64,
    device: &B::Device,
) -> Result<LayerNorm<B>, WeightError> {
    let mut norm = LayerNormConfig::new(length).with_epsilon(epsilon).init(device);
    norm.gamma = tensor(weights, &format!("{prefix}.weight"), [length], device)?;
    norm.beta = Some(tensor(weights, &format!("{prefix}.bias"), [length], device)?);
    Ok(norm)
}

/// Transposes a row-major matrix `[outputs, inputs]` to `[inputs, outputs]`.
fn transposed(values: &[f32], [inputs, outputs]: [usize; 2]) -> Vec<f32> {
    (0..inputs * outputs).map(|at| values[at % outputs * inputs + at / outputs]).collect()
}

fn param<B: Backend, const D: usize>(values: Vec<f32>, shape: [usize; D], device: &B::Device) -> Param<Tensor<B, D>> {
    // `Param::from_tensor` turns on gradients; `Param::initialized` would not.
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}
