//! Batch normalisation (Ioffe, Szegedy, "Batch normalization", 2015) with the state of burn's own layer. burn's formula walks every
//! map element by element on the CPU. Here each map is a row, and burn is fast with one value per row.

use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Normalises `[N, C, H, W]`. In training it uses the statistics of these images and updates the running statistics; otherwise it
/// uses the running statistics.
pub fn batch_norm<B: Backend>(state: &BatchNorm<B>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [n, c, h, w] = x.dims();
    let x = x.reshape([n * c, h * w]);
    let training = B::ad_enabled(&x.device());
    let mean = if training { over_images(x.clone(), n) } else { state.running_mean.value() };
    let centred = x - each_row(mean.clone(), n);
    let variance = if training { over_images(centred.clone().square(), n) } else { state.running_var.value() };
    if training {
        let followed = |old: Tensor<B, 1>, new: &Tensor<B, 1>| {
            (old * (1.0 - state.momentum) + new.clone().detach() * state.momentum).detach()
        };
        state.running_mean.update(followed(state.running_mean.value_sync(), &mean));
        state.running_var.update(followed(state.running_var.value_sync(), &variance));
    }
    let scale = state.gamma.val() / (variance + state.epsilon).sqrt();
    (centred * each_row(scale, n) + each_row(state.beta.val(), n)).reshape([n, c, h, w])
}

/// Mean of a channel over all its maps, `[N * C, H * W] -> [C]`. Each map is averaged first, which keeps more digits.
fn over_images<B: Backend>(rows: Tensor<B, 2>, n: usize) -> Tensor<B, 1> {
    let c = rows.dims()[0] / n;
    rows.mean_dim(1).reshape([n, c]).mean_dim(0).reshape([c])
}

/// A channel's value for each of its maps, `[C] -> [N * C, 1]`.
fn each_row<B: Backend>(values: Tensor<B, 1>, n: usize) -> Tensor<B, 2> {
    let [c] = values.dims();
    values.reshape([1, c]).repeat_dim(0, n).reshape([n * c, 1])
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::BatchNormConfig;
    use burn::tensor::Distribution;

    use super::*;
    use crate::model::values::values;

    type A = Autodiff<Flex>;

    fn assert_close(ours: Vec<f32>, theirs: Vec<f32>) {
        assert_eq!(ours.len(), theirs.len());
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() < 1e-4, "{a} instead of {b}");
        }
    }

    /// Two equal layers: one for our formula, one for burn's.
    fn twins<B: Backend>(c: usize, device: &B::Device) -> [BatchNorm<B>; 2] {
        let layer = || {
            let mut layer = BatchNormConfig::new(c).init(device);
            let ramp =
                |from: f32| Tensor::<B, 1>::from_floats(&*(0..c).map(|i| from + i as f32).collect::<Vec<_>>(), device);
            layer.gamma = burn::module::Param::from_tensor(ramp(0.5));
            layer.beta = burn::module::Param::from_tensor(ramp(-1.0));
            layer.running_mean = burn::module::RunningState::new(ramp(0.1));
            layer.running_var = burn::module::RunningState::new(ramp(0.7));
            layer
        };
        [layer(), layer()]
    }

    #[test]
    fn in_training_outputs_gradients_and_running_statistics_are_those_of_burn() {
        let device = Default::default();
        let [ours, theirs] = twins::<A>(3, &device);
        let pixels = Tensor::<A, 4>::random([4, 3, 5, 2], Distribution::Normal(0.5, 2.0), &device);
        let weights = Tensor::<A, 4>::random([4, 3, 5, 2], Distribution::Normal(0.0, 1.0), &device);
        let run = |forward: &dyn Fn(Tensor<A, 4>) -> Tensor<A, 4>, state: &BatchNorm<A>| {
            let x = pixels.clone().require_grad();
            let y = forward(x.clone());
            let gradients = (y.clone() * weights.clone()).sum().backward();
            let of_weights = [&state.gamma, &state.beta].map(|p| values(p.val().grad(&gradients).unwrap()));
            let running = [&state.running_mean, &state.running_var].map(|s| values(s.value_sync()));
            (values(y), values(x.grad(&gradients).unwrap()), of_weights, running)
        };
        let a = run(&|x| batch_norm(&ours, x), &ours);
        let b = run(&|x| theirs.forward(x), &theirs);
        assert_close(a.0, b.0);
        assert_close(a.1, b.1);
        for (a, b) in a.2.into_iter().chain(a.3).zip(b.2.into_iter().chain(b.3)) {
            assert_close(a, b);
        }
    }

    #[test]
    fn outside_training_it_uses_the_running_statistics() {
        let device = Default::default();
        let [ours, theirs] = twins::<Flex>(3, &device);
        let x = Tensor::<Flex, 4>::random([2, 3, 4, 4], Distribution::Normal(0.5, 2.0), &device);
        assert_close(values(batch_norm(&ours, x.clone())), values(theirs.forward(x)));
        assert_close(values(ours.running_mean.value()), vec![0.1, 1.1, 2.1]);
    }
}
