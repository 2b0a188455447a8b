//! Copies tensors and weights from one backend to another.

use std::any::Any;

use burn::module::Module;
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Recorder};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::train_device::Host;

/// Returns a tensor with the values of `x` on the device of backend `B`. If both backends are the same, nothing is
/// copied.
pub fn carry<A: Backend, B: Backend, const D: usize>(x: Tensor<A, D>, device: &B::Device) -> Tensor<B, D> {
    match same::<_, Tensor<B, D>>(x) {
        Ok(x) => x,
        Err(x) => Tensor::from_data(x.into_data(), device),
    }
}

/// Returns the weights of `model` on the processor. If they have to be copied, `skeleton` makes the module of the same
/// shape that receives them.
///
/// # Errors
/// The error of `skeleton` or of burn's recorder.
pub fn to_host<B, M, H, E>(model: M, skeleton: impl FnOnce() -> Result<H, E>) -> Result<H, E>
where
    B: Backend,
    M: Module<B> + 'static,
    H: Module<Host> + 'static,
    E: From<burn::record::RecorderError>,
{
    same::<M, H>(model).or_else(|model| {
        let recorder = BinBytesRecorder::<FullPrecisionSettings>::new();
        let bytes = Recorder::<B>::record(&recorder, model.into_record(), ())?;
        let record = Recorder::<Host>::load(&recorder, bytes, &Default::default())?;
        Ok(skeleton()?.load_record(record))
    })
}

/// Returns the value as a `B` if `A` and `B` are the same type, otherwise the unchanged value as the error.
fn same<A: 'static, B: 'static>(a: A) -> Result<B, A> {
    let any: Box<dyn Any> = Box::new(a);
    match any.downcast::<B>() {
        Ok(b) => Ok(*b),
        Err(any) => match any.downcast::<A>() {
            Ok(a) => Err(*a),
            Err(_) => unreachable!("a value has the type that it was boxed with"),
        },
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Autodiff;
    use burn::nn::LinearConfig;
    use burn::record::RecorderError;

    use super::*;
    use crate::optimise::draw;

    /// The autodiff backend and the host's backend are different types, so the weights are copied as from a GPU.
    #[test]
    fn weights_and_tensors_come_over_whole() {
        type B = Autodiff<Host>;
        let device = Default::default();
        let far = LinearConfig::new(3, 2).init::<B>(&device);
        draw(&far);
        let fresh = || Ok::<_, RecorderError>(LinearConfig::new(3, 2).init::<Host>(&device));
        let near = to_host::<B, _, _, _>(far.clone(), fresh).unwrap();
        let x = [[1.0f32, -2.0, 0.5]];
        let [there, here] = [
            far.forward(Tensor::<B, 2>::from_data(x, &device)).into_data(),
            near.forward(carry(Tensor::<B, 2>::from_data(x, &device), &device)).into_data(),
        ];
        assert_eq!(there, here);
        let never = || -> Result<burn::nn::Linear<Host>, RecorderError> { unreachable!("nothing is to be copied") };
        let same = to_host::<Host, _, _, _>(near.clone(), never).unwrap();
        assert_eq!(same.weight.val().into_data(), near.weight.val().into_data());
    }
}
