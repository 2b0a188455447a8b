//! One of the image's answers, and a reward for images that show what the tag names. For image encoders whose embeddings begin with a
//! content vector in the space of texts.
//!
//! A tag that is close to a known tag with an answer of its own, such as "black and white", reads that answer; every other tag reads the
//! first one, which is about quality in general. The reward rises from nearly nothing to [`REWARD`] where the cosine of content and text
//! passes a threshold. The threshold is higher for texts that are no plain names: a sentence of many words is rarely matched well, and "black
//! and white" names nothing that a content vector could show. How many words a text has is told by the length of its embedding; see
//! [`TokenMeans`](crate::model::token_means::TokenMeans). A text without a word, such as "photograph", has a shift of its own. A score must
//! stay comparable between tags, so that nothing else depends on the text: an image that does not match gets the same under all tags that name
//! contents. The constants were chosen by measurement (`docs/small-model.md`); the training learns factors and shifts of the answers. A new tag
//! can be scored from stored embeddings.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::shape::HeadShape;
use super::weighted_sum::sum_of_answers;
use crate::model::layers::{cosine, fixed, unit};
use crate::model::ops::{LayerOps, TensorOps};
use crate::model::values::weights;

/// The reward of a full match, in standard deviations of the answers.
const REWARD: f32 = 3.0;
/// Steepness of the reward.
const SLOPE: f32 = 16.0;
/// Cosine at which a plain name has half of the reward.
const THRESHOLD: f32 = 0.33;
/// A text that is no plain name has a threshold that is higher by this cosine.
const NO_NAME: f32 = 0.5;
/// A text of fewer words that mean something is a name, one of more words a sentence.
const NAME_WORDS: f32 = 2.5;
/// Steepness of the difference between names and sentences.
const NAME_SLOPE: f32 = 4.0;
/// Shortest length of a text embedding: a text without a word counts as one of many, which is no name.
const NO_WORD: f32 = 1e-3;
/// The sum also contains the cosine, times this factor. The cosine orders images under sentences, and it hardly changes the order of their
/// quality.
const NEARNESS: f32 = 0.2;
/// Factor of the sum: with it the sums have about the range of the scores of the training. It is not trained: the reward is worth less in the
/// squared error than it is in the order of photographs, so that the training shrinks it, and the common answer with it.
const GAIN: f32 = 0.48;
/// Cosine of a tag and a known tag at which the tag reads half of that one's answer. "Silhouettes" is at 0.89 of "silhouette" and "black
/// and white photography" at 0.75 of "black and white", but "black cat" at 0.47.
const SAME_TAG: f32 = 0.72;
/// Steepness of the choice among the answers.
const CHOICE_SLOPE: f32 = 40.0;

/// `image_embedding [N, D]`, `text_embedding [N, E]` -> `score [N]`.
#[derive(Module, Debug)]
pub struct MatchedSum<B: Backend> {
    /// The directions of the T known tags' texts, after a column of zeros for all others, `[E, 1 + T]`.
    known: Param<Tensor<B, 2>>,
    /// 1 at the answer of each column, `[1 + T, K]`.
    answer_of: Param<Tensor<B, 2>>,
    /// Factor of each answer, `[K]`. That of the first is not used: its unit is that of the reward.
    answer_gain: Param<Tensor<B, 1>>,
    /// The number added to each answer, `[K]`.
    shift: Param<Tensor<B, 1>>,
    /// The number added to the answer for a text without a word, `[1]`. People rate pictures lower under such a tag than under one that names
    /// what they asked for.
    no_word_shift: Param<Tensor<B, 1>>,
    /// Length E of the text embedding.
    text: usize,
    /// Place of the first answer in the image embedding.
    first: usize,
    /// The reward multiplies contents by the first matrix and texts by the second, `[E, E]` each.
    match_axes: [Param<Tensor<B, 2>>; 2],
}

/// A tag with an answer of its own.
#[derive(Debug, Clone)]
pub struct KnownTag {
    /// Its text embedding, `[E]`.
    pub text: Vec<f32>,
    /// Index of its answer.
    pub answer: usize,
}

/// The constants of a head that a fitted image encoder determines.
#[derive(Debug, Clone)]
pub struct MatchFit {
    /// The tags with answers of their own.
    pub tags: Vec<KnownTag>,
    /// The head multiplies contents by the first matrix and texts by the second before it matches them; row-major `[E, E]` each. They lead
    /// back to the space in which the content was fitted. There a cosine tells better whether an image shows what a text names. In the space
    /// of the embeddings the cosines of all texts vary alike, which helps to find the text of an image.
    pub axes: [Vec<f32>; 2],
}

impl<B: Backend> MatchedSum<B> {
    /// Creates a head with random weights that knows no tag.
    pub fn new(shape: HeadShape, device: &B::Device) -> Self {
        let [first, count] = shape.answers;
        let head = Self {
            known: fixed(Tensor::zeros([1, 1], device)),
            answer_of: fixed(Tensor::zeros([1, 1], device)),
            answer_gain: Param::from_data(vec![1.0; count].as_slice(), device),
            shift: Param::from_data(vec![-0.5 * REWARD; count].as_slice(), device),
            no_word_shift: Param::from_data([0.0].as_slice(), device),
            text: shape.text,
            first,
            match_axes: [(); 2].map(|()| fixed(Tensor::eye(shape.text, device))),
        };
        head.with_tags(&[], device)
    }

    /// The same head with the constants of `fit`.
    pub fn with_fit(self, fit: &MatchFit, device: &B::Device) -> Self {
        let dims = [self.text; 2];
        let axes = |values: &Vec<f32>| fixed(Tensor::from_data(TensorData::new(values.clone(), dims), device));
        Self { match_axes: fit.axes.each_ref().map(axes), ..self.with_tags(&fit.tags, device) }
    }

    /// The same head, which knows these tags and no others.
    fn with_tags(self, tags: &[KnownTag], device: &B::Device) -> Self {
        let (columns, answers) = (1 + tags.len(), self.shift.dims()[0]);
        let mut known = vec![0.0; self.text * columns];
        let mut answer_of = vec![0.0; columns * answers];
        answer_of[0] = 1.0;
        for (column, tag) in (1..).zip(tags) {
            let length = tag.text.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            tag.text.iter().enumerate().for_each(|(i, v)| known[i * columns + column] = *v / length);
            answer_of[column * answers + tag.answer] = 1.0;
        }
        let table = |values, dims: [usize; 2]| fixed(Tensor::from_data(TensorData::new(values, dims), device));
        Self { known: table(known, [self.text, columns]), answer_of: table(answer_of, [columns, answers]), ..self }
    }

    /// `[N, 1]`, in the unit of the training scores.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, image: O::Tensor<2>, text: O::Tensor<2>) -> O::Tensor<2> {
        let shares = self.shares(ops, text.clone());
        let reads_first = ops.slice(shares.clone(), 1, 0..1);
        let answer = self.answer(ops, image.clone(), shares);
        let has_few_words = has_few_words(ops, text.clone());
        let is_name = ops.mul(has_few_words, reads_first);
        let content = ops.slice(image, 1, 0..self.text);
        let [of_contents, of_texts] = self.match_axes.each_ref().map(weights);
        let matched_content = ops.matmul_constant(content.clone(), &of_contents, self.text);
        let matched_text = ops.matmul_constant(text.clone(), &of_texts, self.text);
        let fit = cosine(ops, matched_content, matched_text);
        let nearness = cosine(ops, content, text.clone());
        // The threshold is THRESHOLD + NO_NAME (1 - is_name).
        let threshold = ops.affine(is_name, NO_NAME, -THRESHOLD - NO_NAME);
        let above = ops.add(fit, threshold);
        let above = ops.affine(above, SLOPE, 0.0);
        let matched = ops.sigmoid(above);
        let reward = ops.affine(matched, REWARD, 0.0);
        let nearness = ops.affine(nearness, NEARNESS, 0.0);
        let sum = ops.add(answer, reward);
        let sum = ops.add(sum, nearness);
        let no_word = has_no_word(ops, text);
        let shift = ops.learned_row(&self.no_word_shift);
        let shift = ops.mul(no_word, shift);
        let sum = ops.add(sum, shift);
        ops.affine(sum, GAIN, 0.0)
    }

    /// How much of each answer the tag reads, `[N, E] -> [N, K]`.
    fn shares<O: LayerOps<B>>(&self, ops: &mut O, text: O::Tensor<2>) -> O::Tensor<2> {
        let [columns, answers] = self.answer_of.dims();
        let text = unit(ops, text);
        let cosines = ops.matmul_constant(text, &weights(&self.known), columns);
        let mut same = vec![-CHOICE_SLOPE * SAME_TAG; columns];
        same[0] = 0.0;
        let logits = ops.column_affine(cosines, &vec![CHOICE_SLOPE; columns], &same);
        let shares = ops.softmax(logits, 1);
        ops.matmul_constant(shares, &weights(&self.answer_of), answers)
    }

    /// The sum of the answers with these shares, `[N, 1]`.
    fn answer<O: LayerOps<B>>(&self, ops: &mut O, image: O::Tensor<2>, shares: O::Tensor<2>) -> O::Tensor<2> {
        let answers = self.shift.dims()[0];
        let mut is_first = vec![0.0; answers];
        is_first[0] = 1.0;
        let not_first: Vec<f32> = is_first.iter().map(|first| 1.0 - first).collect();
        let (gain, shift) = (ops.learned_row(&self.answer_gain), ops.learned_row(&self.shift));
        let gain = ops.column_affine(gain, &not_first, &is_first);
        let answers = ops.slice(image, 1, self.first..self.first + answers);
        sum_of_answers(ops, answers, [gain, shift], shares)
    }
}

/// 1 for texts with at most two words that mean something, nearly 0 for texts with three or more, `[N, E] -> [N, 1]`.
fn has_few_words<O: TensorOps>(ops: &mut O, text: O::Tensor<2>) -> O::Tensor<2> {
    let square = square_of_length(ops, text);
    let length = ops.sqrt(square);
    // A length of 1 / words, so that this is NAME_SLOPE (NAME_WORDS - words).
    let product = ops.affine(length.clone(), NAME_WORDS * NAME_SLOPE, -NAME_SLOPE);
    let fewer = ops.div(product, length);
    ops.sigmoid(fewer)
}

/// 1 for texts without a word that means something, nearly 0 for all others, `[N, E] -> [N, 1]`.
fn has_no_word<O: TensorOps>(ops: &mut O, text: O::Tensor<2>) -> O::Tensor<2> {
    let square = square_of_length(ops, text);
    let shortest = ops.row(&[NO_WORD * NO_WORD]);
    ops.div(shortest, square)
}

/// The square of the length of each text embedding, `[N, E] -> [N, 1]`; at least [`NO_WORD`] squared.
fn square_of_length<O: TensorOps>(ops: &mut O, text: O::Tensor<2>) -> O::Tensor<2> {
    let squares = ops.mul(text.clone(), text);
    let square: O::Tensor<1> = ops.sum(squares, 1);
    let square = ops.reshape(square, [-1, 1]);
    ops.affine(square, 1.0, NO_WORD * NO_WORD)
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::model::ops::Compute;
    use crate::model::values::values;

    #[test]
    fn tags_near_a_known_one_read_its_answer_and_all_others_the_first() {
        let device = Default::default();
        let shape = HeadShape { embedding: 6, text: 3, patches: [0; 2], tokens: [0; 2], answers: [3, 3] };
        let known = |text: [f32; 3], answer| KnownTag { text: text.to_vec(), answer };
        let head = MatchedSum::<Flex>::new(shape, &device);
        let head = head.with_tags(&[known([0.5, 0.0, 0.0], 2), known([0.0, 1.0, 0.0], 1)], &device);
        let image = [0.0, 0.0, 1.0, 10.0, 20.0, 30.0];
        let answer = |text: [f32; 3]| {
            let (image, text) = (Tensor::from_data([image], &device), Tensor::from_data([text], &device));
            let ops = &mut Compute::<Flex>::new(device);
            let shares = head.shares(ops, text);
            let value = values(head.answer(ops, image, shares))[0];
            value + 0.5 * REWARD
        };
        for (text, expected) in [
            ([1.0, 0.0, 0.0], 30.0),
            ([0.0, 0.95, 0.3], 20.0),
            ([0.0, 0.0, 1.0], 10.0),
            ([0.5, 0.2, 0.8], 10.0),
            ([0.0; 3], 10.0),
        ] {
            assert!((answer(text) - expected).abs() < 0.01, "{text:?}: {}", answer(text));
        }
    }

    #[test]
    fn a_match_is_rewarded_under_names_and_not_under_sentences_or_known_tags() {
        let device = Default::default();
        let shape = HeadShape { embedding: 5, text: 3, patches: [0; 2], tokens: [0; 2], answers: [3, 2] };
        let head = MatchedSum::<Flex>::new(shape, &device);
        let head = head.with_tags(&[KnownTag { text: vec![1.0, 0.0, 0.0], answer: 1 }], &device);
        let score = |content: [f32; 3], direction: [f32; 3], words: f32| {
            let image = [content[0], content[1], content[2], 0.0, 0.0];
            let (image, text) =
                (Tensor::from_data([image], &device), Tensor::from_data([direction.map(|v| v / words)], &device));
            values(head.forward(&mut Compute::<Flex>::new(device), image, text))[0] / GAIN
        };
        let (shows, differs) = ([0.0, 0.5, 0.87], [0.0, -0.5, 0.87]);
        let reward = |direction: [f32; 3], words: f32| {
            let nearness =
                NEARNESS * direction.iter().zip(shows).zip(differs).map(|((t, a), b)| t * (a - b)).sum::<f32>();
            score(shows, direction, words) - score(differs, direction, words) - nearness
        };
        // The cosine of 0.5 is above the threshold of names and far below that of sentences.
        for (words, expected) in [(1.0, 0.94), (2.0, 0.85), (3.0, 0.01), (9.0, 0.0)] {
            let share = reward([0.0, 1.0, 0.0], words) / REWARD;
            assert!((share - expected).abs() < 0.02, "{words} words: {share}");
        }
        // A tag with an answer of its own names no content, though contents may have its direction.
        let known = score([0.7, 0.7, 0.0], [1.0, 0.0, 0.0], 1.0) - score([0.0, 0.7, 0.7], [1.0, 0.0, 0.0], 1.0);
        assert!(known < 1.0, "{known}");
        // A text without words is rewarded for nothing.
        assert!((score(shows, [0.0; 3], 1.0) + 0.5 * REWARD).abs() < 0.01);
    }

    #[test]
    fn only_a_text_without_a_word_has_the_shift_of_its_own() {
        let device = Default::default();
        let shape = HeadShape { embedding: 5, text: 3, patches: [0; 2], tokens: [0; 2], answers: [3, 2] };
        let head = MatchedSum::<Flex>::new(shape, &device);
        let shifted = MatchedSum { no_word_shift: Param::from_data([-2.0].as_slice(), &device), ..head.clone() };
        for (length, expected) in [(0.0, -2.0), (1.0 / 77.0, 0.0), (1.0, 0.0)] {
            let score = |head: &MatchedSum<Flex>| {
                let image = Tensor::from_data([[0.3, 0.5, 0.8, 1.0, 2.0]], &device);
                let text = Tensor::from_data([[0.0, length, 0.0]], &device);
                values(head.forward(&mut Compute::<Flex>::new(device), image, text))[0] / GAIN
            };
            let moved = score(&shifted) - score(&head);
            assert!((moved - expected).abs() < 0.02, "length {length}: {moved}");
        }
    }
}
