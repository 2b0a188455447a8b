//! Mixed precision: matrix products in bfloat16 with weights in 32 bits (Micikevicius et al., "Mixed precision training", 2018).
//!
//! bfloat16 has the range of 32-bit floats, so the loss needs no scaling (Kalamkar et al., "A study of bfloat16 for deep learning
//! training", 2019). Within [`in_bf16`] the products of this module round their operands, forwards and backwards, and return 32 bits.
//! Everything else, in particular normalisations and softmax, stays in 32 bits. The setting belongs to the thread, as with
//! `torch.autocast`, so layers need no parameter for it.

use std::cell::Cell;

use burn::nn::Linear;
use burn::tensor::backend::Backend;
use burn::tensor::module::conv2d as plain_conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{FloatDType, Tensor};

thread_local! {
    static BF16: Cell<bool> = const { Cell::new(false) };
}

/// Calls `work` with this thread's products in bfloat16 if `yes` is true, else in 32 bits.
pub fn in_bf16<T>(yes: bool, work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            BF16.set(self.0);
        }
    }
    let _restore = Restore(BF16.replace(yes));
    work()
}

/// `[.., M, K]`, `[.., K, N]` -> `[.., M, N]`.
pub fn matmul<B: Backend, const D: usize>(a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
    if BF16.get() { full(half(a).matmul(half(b))) } else { a.matmul(b) }
}

/// `[N, I] -> [N, O]`. burn's own layer is much slower on three dimensions than on two.
pub fn linear<B: Backend>(layer: &Linear<B>, x: Tensor<B, 2>) -> Tensor<B, 2> {
    if !BF16.get() {
        return layer.forward(x);
    }
    let product = full(half(x).matmul(half(layer.weight.val())));
    match &layer.bias {
        Some(bias) => product + bias.val().unsqueeze(),
        None => product,
    }
}

/// `x [N, I, H, W]`, `weight [O, I / groups, K, K]` -> `[N, O, H', W']`.
pub fn conv2d<B: Backend>(
    x: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Option<Tensor<B, 1>>,
    options: ConvOptions<2>,
) -> Tensor<B, 4> {
    if !BF16.get() {
        return plain_conv2d(x, weight, bias, options);
    }
    let product = full(plain_conv2d(half(x), half(weight), None, options));
    match bias {
        Some(bias) => {
            let channels = bias.dims()[0];
            product + bias.reshape([1, channels, 1, 1])
        }
        None => product,
    }
}

fn half<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.cast(FloatDType::BF16)
}

fn full<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.cast(FloatDType::F32)
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::LinearConfig;
    use burn::tensor::{DType, Distribution};

    use super::*;
    use crate::model::values::values;

    type B = Autodiff<Flex>;

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Default::default()).require_grad()
    }

    /// The largest difference as a share of the largest value.
    fn apart(a: &[f32], b: &[f32]) -> f32 {
        let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
        a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
    }

    /// Compares `f` and its gradients by both arguments in 32 and in 16 bits. Checks that they differ, but by no more than rounding to
    /// 8 bits of mantissa explains.
    fn differs_by_rounding<const D: usize, const R: usize>(
        (a, b): (Tensor<B, D>, Tensor<B, D>),
        f: impl Fn(Tensor<B, D>, Tensor<B, D>) -> Tensor<B, R>,
    ) {
        let run = |yes| {
            let y = in_bf16(yes, || f(a.clone(), b.clone()));
            assert_eq!(y.dtype(), DType::F32);
            let grads = (y.clone() * y.clone()).sum().backward();
            let of = |x: &Tensor<B, D>| x.grad(&grads).unwrap();
            assert_eq!(of(&a).dtype(), DType::F32);
            [values(y), values(of(&a)), values(of(&b))]
        };
        for (wide, narrow) in run(false).iter().zip(&run(true)) {
            let difference = apart(wide, narrow);
            assert!(difference > 1e-6 && difference < 0.02, "{difference}");
        }
    }

    #[test]
    fn products_and_their_gradients_are_rounded_and_no_more() {
        differs_by_rounding((random([2, 5, 7]), random([2, 7, 3])), matmul);
        differs_by_rounding((random([2, 4, 9, 9]), random([6, 2, 3, 3])), |x, weight| {
            conv2d(x, weight, None, ConvOptions::new([2, 2], [1, 1], [1, 1], 2))
        });
        let layer = LinearConfig::new(7, 3).init::<B>(&Default::default());
        differs_by_rounding((random([5, 7]), random([5, 7])), |a, b| linear(&layer, a) + linear(&layer, b));
    }

    #[test]
    fn biases_are_added() {
        let (x, weight) = (random([1, 2, 5, 5]), random([3, 2, 3, 3]));
        let bias = Tensor::<B, 1>::from_data([1.0f32, 2.0, 3.0], &Default::default());
        let run = |yes| {
            let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
            values(in_bf16(yes, || conv2d(x.clone(), weight.clone(), Some(bias.clone()), options)))
        };
        assert!(apart(&run(false), &run(true)) < 0.01);
    }

    #[test]
    fn the_choice_ends_with_the_work() {
        let (a, b) = (random([3, 3]), random([3, 3]));
        let before = values(matmul(a.clone(), b.clone()));
        let panicked = std::panic::catch_unwind(|| in_bf16(true, || panic!("as a layer might")));
        assert!(panicked.is_err());
        assert_eq!(values(matmul(a.clone(), b.clone())), before);
        let inside = in_bf16(true, || in_bf16(false, || values(matmul(a.clone(), b.clone()))));
        assert_eq!(inside, before);
    }
}
