//! The parts of an optimiser step around AdamW: learning rate schedule, gradient clipping, learning rates by layer, and
//! the moving average of the weights. burn clips every tensor by itself, which changes the direction of the step; here
//! all gradients are scaled together.

use std::collections::HashMap;

use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use half::f16;

use super::model::values;

/// Returns the learning rate at `step` (from 0) of `steps`. It rises linearly from zero during the warm-up and then
/// falls to zero along half a cosine (Loshchilov, Hutter, "SGDR", 2017, without restarts).
pub fn learning_rate(highest: f64, warmup_share: f64, step: usize, steps: usize) -> f64 {
    let warmup = (warmup_share * steps as f64).ceil();
    let at = step as f64;
    if at < warmup {
        return highest * (at + 1.0) / warmup;
    }
    let progress = (at - warmup) / (steps as f64 - warmup).max(1.0);
    highest * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
}

/// Scales all gradients by one factor so that their common Euclidean norm is at most `largest` (Pascanu, Mikolov,
/// Bengio, "On the difficulty of training recurrent neural networks", 2013).
pub fn clip_together<B, M>(model: &M, mut gradients: GradientsParams, largest: f64) -> GradientsParams
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
    gradients
}

/// Shares of the learning rate by parameter. Parameters without an entry have the share 1.
#[derive(Debug, Clone, Default)]
pub struct RateShares(HashMap<ParamId, f64>);

impl RateShares {
    /// Adds layer-wise decay (Clark et al., "ELECTRA", 2020). `layers` are in the order from the input. The last layer
    /// has the share `last`, every earlier layer `decay` times the share of the layer behind it. Only the last
    /// `trained` layers are trained; all layers before them have the share 0.
    pub fn add(&mut self, layers: &[Vec<ParamId>], last: f64, decay: f64, trained: usize) {
        for (from_top, layer) in layers.iter().rev().enumerate() {
            let share = if from_top < trained { last * decay.powi(from_top as i32) } else { 0.0 };
            self.0.extend(layer.iter().map(|&id| (id, share)));
        }
    }

    /// Returns the model with the parameters of share 0 marked as constants, so that burn neither computes their
    /// gradients nor keeps the intermediate results for them.
    pub fn freeze<B: AutodiffBackend, M: Module<B>>(&self, model: M) -> M {
        if self.0.values().all(|&share| share > 0.0) {
            return model;
        }
        model.map(&mut Freeze { shares: &self.0 })
    }

    /// Groups the gradients by their share of the learning rate. Those with the share 0 are left out.
    pub fn split<B: AutodiffBackend, M: AutodiffModule<B>>(
        &self,
        model: &M,
        gradients: GradientsParams,
    ) -> Vec<(f64, GradientsParams)> {
        if self.0.is_empty() {
            return vec![(1.0, gradients)];
        }
        let mut split =
            Split::<B> { shares: &self.0, left: gradients, groups: Vec::new(), backend: std::marker::PhantomData };
        model.visit(&mut split);
        split.groups
    }
}

struct Freeze<'a> {
    shares: &'a HashMap<ParamId, f64>,
}

impl<B: AutodiffBackend> ModuleMapper<B> for Freeze<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.shares.get(&param.id) == Some(&0.0) { param.set_require_grad(false) } else { param }
    }
}

struct Split<'a, B> {
    shares: &'a HashMap<ParamId, f64>,
    left: GradientsParams,
    groups: Vec<(f64, GradientsParams)>,
    backend: std::marker::PhantomData<B>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Split<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let share = self.shares.get(&param.id).copied().unwrap_or(1.0);
        let Some(gradient) = self.left.remove::<B::InnerBackend, D>(param.id) else { return };
        if share == 0.0 {
            return;
        }
        if !self.groups.iter().any(|(known, _)| *known == share) {
            self.groups.push((share, GradientsParams::new()));
        }
        if let Some((_, group)) = self.groups.iter_mut().find(|(known, _)| *known == share) {
            group.register(param.id, gradient);
        }
    }
}

/// Draws the random weights of new layers. burn draws them at their first use, and a copy that is made earlier draws
/// other weights.
pub fn draw<B: Backend, M: Module<B>>(model: &M) {
    model.visit(&mut Gather::<B> { values: GradientsParams::new(), backend: std::marker::PhantomData });
}

/// Returns `average * share + model * (1 - share)` for every parameter (Polyak, Juditsky, "Acceleration of stochastic
/// approximation by averaging", 1992, in its exponential form). In the first steps the share is smaller, so that the
/// initial random weights soon have no influence.
pub fn average<B: Backend, M: Module<B>>(average: M, model: &M, share: f64, step: usize) -> M {
    let share = share.min((1.0 + step as f64) / (10.0 + step as f64));
    let mut gather = Gather::<B> { values: GradientsParams::new(), backend: std::marker::PhantomData };
    model.visit(&mut gather);
    average.map(&mut Mix { values: gather.values, share })
}

/// Collects the values of parameters by id. It uses burn's container for gradients, which holds any tensors.
struct Gather<B> {
    values: GradientsParams,
    backend: std::marker::PhantomData<B>,
}

impl<B: Backend> ModuleVisitor<B> for Gather<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.values.register(param.id, param.val());
    }
}

struct Mix {
    values: GradientsParams,
    share: f64,
}

impl<B: Backend> ModuleMapper<B> for Mix {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(new) = self.values.remove::<B, D>(param.id) else { return param };
        let moved = 1.0 - self.share;
        // In this form, rounding does not change a parameter whose old and new values are equal.
        param.map(|old| old.clone() + (new - old) * moved)
    }
}

/// Returns the model with the values of every matrix rounded to 16-bit floats, so that a file can store them in half
/// the space.
pub fn rounded_to_f16<B: Backend, M: Module<B>>(model: M) -> M {
    model.map(&mut RoundToF16)
}

struct RoundToF16;

impl<B: Backend> ModuleMapper<B> for RoundToF16 {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if D != 2 {
            return param;
        }
        param.map(|tensor| {
            let (dims, device) = (tensor.dims(), tensor.device());
            let rounded: Vec<f32> = values(tensor).into_iter().map(|v| f16::from_f32(v).to_f32()).collect();
            Tensor::from_data(TensorData::new(rounded, dims), &device)
        })
    }
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
    fn layers_have_their_own_rates_and_frozen_ones_none() {
        type B = Autodiff<Flex>;
        let device = Default::default();
        let layers: Vec<_> = (0..4).map(|_| LinearConfig::new(2, 2).with_bias(false).init::<B>(&device)).collect();
        let x = Tensor::<B, 2>::ones([1, 2], &device);
        let y = layers.iter().fold(x, |x, layer| layer.forward(x));
        let gradients = GradientsParams::from_grads(y.sum().backward(), &layers);
        let ids: Vec<Vec<ParamId>> = layers[..3].iter().map(|l| vec![l.weight.id]).collect();
        let mut shares = RateShares::default();
        shares.add(&ids, 0.5, 0.5, 2);
        let groups = shares.split(&layers, gradients);
        let share_of = |layer: usize| {
            groups.iter().find(|(_, g)| g.get::<Flex, 2>(layers[layer].weight.id).is_some()).map(|(share, _)| *share)
        };
        assert_eq!([share_of(0), share_of(1), share_of(2), share_of(3)], [None, Some(0.25), Some(0.5), Some(1.0)]);
    }

    #[test]
    fn frozen_layers_have_no_gradients() {
        type B = Autodiff<Flex>;
        let device = Default::default();
        let layers: Vec<_> = (0..3).map(|_| LinearConfig::new(2, 2).with_bias(false).init::<B>(&device)).collect();
        let ids: Vec<Vec<ParamId>> = layers.iter().map(|l| vec![l.weight.id]).collect();
        let mut shares = RateShares::default();
        shares.add(&ids, 1.0, 1.0, 1);
        let before: Vec<_> = layers.iter().map(|l| l.weight.val().into_data()).collect();
        let layers = shares.freeze(layers);
        let x = layers.iter().fold(Tensor::<B, 2>::ones([1, 2], &device), |x, layer| layer.forward(x));
        let gradients = GradientsParams::from_grads(x.sum().backward(), &layers);
        let has = |layer: usize| gradients.get::<Flex, 2>(layers[layer].weight.id).is_some();
        assert_eq!([has(0), has(1), has(2)], [false, false, true]);
        let after: Vec<_> = layers.iter().map(|l| l.weight.val().into_data()).collect();
        assert_eq!(before, after);
    }

    #[test]
    fn the_average_follows_the_weights() {
        let device = Default::default();
        let old = LinearConfig::new(2, 1).with_bias(false).init::<Flex>(&device);
        draw(&old);
        let mut new = old.clone();
        let before = old.weight.val().into_data().to_vec::<f32>().unwrap();
        new.weight = new.weight.map(|w| w + 1.0);
        // At step 1,000,000 the share is the requested one, at step 0 it is 0.1.
        for (step, expected) in [(1_000_000, 0.25f32), (0, 0.9)] {
            let mixed = average(old.clone(), &new, 0.75, step).weight.val().into_data().to_vec::<f32>().unwrap();
            assert!(mixed.iter().zip(&before).all(|(m, b)| (m - b - expected).abs() < 1e-6), "{mixed:?}");
        }
    }

    #[test]
    fn clipping_keeps_the_direction_of_the_whole_step() {
        type B = Autodiff<Flex>;
        let device = Default::default();
        let layer = LinearConfig::new(3, 2).init::<B>(&device);
        let x = Tensor::<B, 2>::from_data([[3.0f32, 4.0, 12.0]], &device);
        let gradients = || GradientsParams::from_grads(layer.forward(x.clone()).sum().backward(), &layer);
        // Each of the two columns has the gradient (3, 4, 12), each bias 1.
        let norm = (2.0f64 * 169.0 + 2.0).sqrt();
        let clipped = clip_together(&layer, gradients(), 1.0);
        let weight = clipped.get::<Flex, 2>(layer.weight.id).unwrap().into_data().to_vec::<f32>().unwrap();
        assert!((f64::from(weight[4]) - 12.0 / norm).abs() < 1e-5, "{weight:?}");
        let kept = clip_together(&layer, gradients(), 100.0);
        let weight = kept.get::<Flex, 2>(layer.weight.id).unwrap().into_data().to_vec::<f32>().unwrap();
        assert_eq!(weight[0], 3.0);
    }
}
