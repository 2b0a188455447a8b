//! The step from gradients to better weights: the rate's course and the clipping. burn's own clipping looks at one tensor at a
//! time, which changes the direction of the step; here all gradients are scaled together.

use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

/// The learning rate at `step` (from 0) of `steps`: linear from zero during the warm-up, then half a cosine down to zero
/// (Loshchilov, Hutter, "SGDR", 2017, without restarts).
pub fn learning_rate(highest: f64, warmup_share: f64, step: usize, steps: usize) -> f64 {
    let warmup = (warmup_share * steps as f64).ceil();
    let at = step as f64;
    if at < warmup {
        return highest * (at + 1.0) / warmup;
    }
    let progress = (at - warmup) / (steps as f64 - warmup).max(1.0);
    highest * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
}

/// Scales all gradients together so that their common Euclidean norm is at most `largest`; answers with the norm before
/// (Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013).
pub fn clip_together<B, M>(model: &M, mut gradients: GradientsParams, largest: f64) -> (GradientsParams, f64)
where
    B: AutodiffBackend,
    M: AutodiffModule<B>,
{
    let mut norm = SquaredNorm::<B> { gradients: &gradients, sum: 0.0, backend: std::marker::PhantomData };
    model.visit(&mut norm);
    let norm = norm.sum.sqrt();
    if norm.is_finite() && norm > largest {
        let mut scale = Scale::<B> { gradients: &mut gradients, by: largest / norm, backend: std::marker::PhantomData };
        model.visit(&mut scale);
    }
    (gradients, norm)
}

struct SquaredNorm<'a, B> {
    gradients: &'a GradientsParams,
    sum: f64,
    backend: std::marker::PhantomData<B>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for SquaredNorm<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = self.gradients.get::<B::InnerBackend, D>(param.id) {
            self.sum += sum_of_squares(gradient);
        }
    }
}

fn sum_of_squares<B: Backend, const D: usize>(x: Tensor<B, D>) -> f64 {
    let sum = (x.clone() * x).sum().into_data();
    sum.iter::<f64>().next().unwrap_or(f64::NAN)
}

struct Scale<'a, B> {
    gradients: &'a mut GradientsParams,
    by: f64,
    backend: std::marker::PhantomData<B>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Scale<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let id: ParamId = param.id;
        if let Some(gradient) = self.gradients.remove::<B::InnerBackend, D>(id) {
            self.gradients.register(id, gradient * self.by);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::LinearConfig;

    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        let rate = |step| learning_rate(1.0, 0.1, step, 100);
        assert!((rate(0) - 0.1).abs() < 1e-12);
        assert!((rate(9) - 1.0).abs() < 1e-12);
        assert!(rate(10) > 0.99 && (rate(55) - 0.5).abs() < 1e-9 && rate(99) < 0.01);
        assert!(learning_rate(1.0, 0.0, 0, 1) > 0.99);
    }

    #[test]
    fn clipping_keeps_the_direction_of_the_whole_step() {
        type B = Autodiff<Flex>;
        let device = Default::default();
        let layer = LinearConfig::new(3, 2).init::<B>(&device);
        let x = Tensor::<B, 2>::from_data([[3.0f32, 4.0, 12.0]], &device);
        let gradients = || GradientsParams::from_grads(layer.forward(x.clone()).sum().backward(), &layer);
        // Each of the two columns has the gradient (3, 4, 12), each bias 1.
        let (clipped, norm) = clip_together(&layer, gradients(), 1.0);
        assert!((norm - (2.0f64 * 169.0 + 2.0).sqrt()).abs() < 1e-4);
        let weight = clipped.get::<Flex, 2>(layer.weight.id).unwrap().into_data().to_vec::<f32>().unwrap();
        assert!((f64::from(weight[4]) - 12.0 / norm).abs() < 1e-5, "{weight:?}");
        let (kept, _) = clip_together(&layer, gradients(), 100.0);
        let weight = kept.get::<Flex, 2>(layer.weight.id).unwrap().into_data().to_vec::<f32>().unwrap();
        assert_eq!(weight[0], 3.0);
    }
}
