//! Copies the numbers of tensors and parameters to the host.

use burn::module::Param;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// The numbers of a tensor, row-major.
pub fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The numbers of a parameter, row-major.
pub fn weights<B: Backend, const D: usize>(param: &Param<Tensor<B, D>>) -> Vec<f32> {
    values(param.val())
}
