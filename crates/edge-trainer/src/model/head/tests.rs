//! Every head: burn compared with tract on the exported graph, and the inputs that must and must not reach the score.

use burn::backend::{Autodiff, Flex};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Distribution;
use ndarray::{ArrayD, IxDyn};

use super::*;
use crate::model::reference::run;
use crate::model::values::values;
use edge_model::backend::Input;

const N: usize = 3;
const SHAPE: HeadShape = HeadShape { embedding: 64, text: 64, patches: [9, 24], tokens: [7, 20], answers: [3, 12] };
/// The shape of an image encoder whose embeddings begin with a content vector.
const CONTENT: HeadShape = HeadShape { embedding: 64, text: 16, answers: [16, 12], ..SHAPE };
const UNIT: ScoreUnit = ScoreUnit { mean: 3.0, deviation: 2.0 };
const KINDS: [HeadKind; 7] = [
    HeadKind::PatchCrossAttention,
    HeadKind::PooledCrossAttention,
    HeadKind::GatedCrossAttention,
    HeadKind::HyperNetwork,
    HeadKind::WeightedSum,
    HeadKind::MatchedSum,
    HeadKind::ImageOnly,
];

fn random<const D: usize>(shape: [usize; D]) -> Tensor<Flex, D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Default::default())
}

/// The shape of the inputs of a kind of head. The gated head gets texts that are shorter than the images, which it must widen.
fn shape(kind: HeadKind) -> HeadShape {
    if matches!(kind, HeadKind::MatchedSum | HeadKind::GatedCrossAttention) { CONTENT } else { SHAPE }
}

fn input() -> HeadInput<Flex> {
    input_of(SHAPE)
}

/// Three pairs; the texts have 2, 5 and 7 tokens.
fn input_of(shape: HeadShape) -> HeadInput<Flex> {
    let lengths = [2, 5, 7];
    let mask: Vec<f32> =
        lengths.iter().flat_map(|&l| (0..SHAPE.tokens[0]).map(move |t| if t < l { 1.0 } else { 0.0 })).collect();
    let mask = burn::tensor::TensorData::new(mask, [N, SHAPE.tokens[0]]);
    HeadInput {
        image: random([N, shape.embedding]),
        patches: Some(random([N, SHAPE.patches[0], SHAPE.patches[1]])),
        text: random([N, shape.text]),
        tokens: Some((random([N, SHAPE.tokens[0], SHAPE.tokens[1]]), Tensor::from_data(mask, &Default::default()))),
    }
}

/// A head of this kind. Gates that start closed are opened: a closed gate would hide the text.
fn head(kind: HeadKind) -> Head<Flex> {
    let head = Head::<Flex>::new(kind, shape(kind), 0.1, &Default::default());
    match head {
        Head::Gated(gated) => Head::Gated(gated.opened(0.7)),
        Head::Weighted(weighted) => Head::Weighted(weighted.opened()),
        Head::Matched(matched) => {
            let known = |answer| KnownTag { text: values(random([1, CONTENT.text])), answer };
            let axes = [(); 2].map(|()| values(random([CONTENT.text, CONTENT.text])));
            Head::Matched(matched.with_fit(&MatchFit { tags: vec![known(5), known(2)], axes }, &Default::default()))
        }
        other => other,
    }
}

fn array<const D: usize>(x: Tensor<Flex, D>) -> Input {
    let dims = x.dims();
    Input::F32(ArrayD::from_shape_vec(IxDyn(&dims), values(x)).unwrap())
}

fn score(head: &Head<Flex>, input: HeadInput<Flex>) -> Vec<f32> {
    values(head.forward(input, UNIT))
}

/// Counts the weights of a head that are trained.
struct Count(usize);

impl<B: Backend> ModuleVisitor<B> for Count {
    fn visit_float<const D: usize>(&mut self, weight: &Param<Tensor<B, D>>) {
        self.0 += usize::from(weight.is_require_grad());
    }
}

#[test]
fn every_weight_of_every_head_is_reached_by_its_gradient() {
    type B = Autodiff<Flex>;
    for kind in KINDS {
        let head = Head::<B>::new(kind, shape(kind), 0.0, &Default::default());
        let HeadInput { image, patches, text, tokens } = input_of(shape(kind));
        let lift = |(states, mask)| (Tensor::from_inner(states), Tensor::from_inner(mask));
        let input = HeadInput {
            image: Tensor::from_inner(image),
            patches: patches.map(Tensor::from_inner),
            text: Tensor::from_inner(text),
            tokens: tokens.map(lift),
        };
        let gradients = head.forward(input, UNIT).sum().backward();
        let mut all = Count(0);
        Module::<B>::visit(&head, &mut all);
        let reached = burn::optim::GradientsParams::from_grads(gradients, &head).len();
        assert_eq!(reached, all.0, "{kind:?}");
    }
}

#[test]
fn every_head_gives_the_same_in_burn_and_in_tract() {
    for kind in KINDS {
        let (head, input) = (head(kind), input_of(shape(kind)));
        let expected = score(&head, input.clone());
        let mut g = GraphBuilder::new("quality_head");
        head.export(&mut g, shape(kind), UNIT);
        let record = record(kind);
        let mut inputs = vec![array(input.image)];
        if record.image_side == ImageSide::PatchTokens {
            inputs.push(array(input.patches.unwrap()));
        }
        if record.text_side != TextSide::Nothing {
            inputs.push(array(input.text));
        }
        if record.text_side == TextSide::TokenStates {
            let (states, mask) = input.tokens.unwrap();
            inputs.extend([array(states), array(mask)]);
        }
        let found = run(&g.finish().unwrap(), inputs).remove(0);
        let difference = expected.iter().zip(&found).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        eprintln!("{kind:?}: {difference:.1e}");
        assert!(found.len() == N && difference < 1e-5, "{kind:?}: {expected:?} {found:?}");
    }
}

#[test]
fn image_and_tag_reach_every_score_that_they_should() {
    for kind in KINDS {
        let (head, base) = (head(kind), input_of(shape(kind)));
        let before = score(&head, base.clone());
        let moved = |changed: HeadInput<Flex>| {
            let after = score(&head, changed);
            before.iter().zip(&after).all(|(a, b)| (a - b).abs() > 1e-5)
        };
        assert!(moved(HeadInput { image: random([N, SHAPE.embedding]), ..base.clone() }), "{kind:?}");
        let other = input_of(shape(kind));
        let (states, mask) = base.tokens.clone().unwrap();
        let other_tag = HeadInput { text: other.text, tokens: Some((random(states.dims()), mask)), ..base.clone() };
        assert_eq!(moved(other_tag), kind != HeadKind::ImageOnly, "{kind:?}");
        let other_patches = HeadInput { patches: other.patches, ..base.clone() };
        assert_eq!(moved(other_patches), kind == HeadKind::PatchCrossAttention, "{kind:?}");
    }
}

#[test]
fn what_stands_behind_a_text_does_not_reach_the_score() {
    let (head, base) = (head(HeadKind::PatchCrossAttention), input());
    let (states, mask) = base.tokens.clone().unwrap();
    let noise = random::<3>(states.dims()) * (mask.clone().neg() + 1.0).reshape([N, SHAPE.tokens[0], 1]);
    let changed = HeadInput { tokens: Some((states + noise, mask)), ..base.clone() };
    let (a, b) = (score(&head, base), score(&head, changed));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
}

#[test]
fn a_closed_gate_is_a_head_without_text() {
    let head = Head::<Flex>::new(HeadKind::GatedCrossAttention, SHAPE, 0.1, &Default::default());
    let base = input();
    let other = HeadInput { text: random([N, SHAPE.text]), ..base.clone() };
    assert_eq!(score(&head, base), score(&head, other));
}

#[test]
fn heads_that_do_not_fit_a_backbone_say_so() {
    let bare = HeadShape { embedding: 1280, text: 1280, patches: [0, 0], tokens: [0, 0], answers: [0, 0] };
    assert!(problem(HeadKind::PatchCrossAttention, bare).unwrap().contains("Use --head pooled"));
    assert_eq!(problem(HeadKind::PooledCrossAttention, bare), None);
    assert!(problem(HeadKind::WeightedSum, bare).unwrap().contains("which this backbone does not give"));
    let odd = HeadShape { embedding: 100, text: 100, ..SHAPE };
    assert!(problem(HeadKind::GatedCrossAttention, odd).unwrap().contains("this backbone's is 100"));
    assert_eq!(problem(HeadKind::ImageOnly, odd), None);
    let short = HeadShape { text: 16, ..SHAPE };
    for kind in [HeadKind::PooledCrossAttention, HeadKind::GatedCrossAttention, HeadKind::HyperNetwork] {
        assert_eq!(problem(kind, short), None);
    }
}

/// If all tokens of an image are equal, attention returns the same for every text. A score that differs between texts then proves that the
/// text reaches it past the attention.
#[test]
fn the_text_reaches_the_pooled_score_where_attention_cannot_tell_the_tokens_apart() {
    let image = Tensor::zeros([N, SHAPE.embedding], &Default::default());
    let input = HeadInput { image, ..input() };
    let scores = values(head(HeadKind::PooledCrossAttention).forward(input, UNIT));
    assert!((scores[0] - scores[1]).abs() > 1e-3, "{scores:?}");
}
