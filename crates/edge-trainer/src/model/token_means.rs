//! The text encoder of a token table ([`crate::words`]): a look-up of the tokens' vectors, and their mean.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::clip::EncodedText;
use super::layers::{fixed, unit};
use super::ops::LayerOps;
use super::values::weights;
use crate::onnx::{Dim, GraphBuilder};

/// `input_ids [N, T]` -> [`EncodedText`]. The text embedding is the direction of the sum of the tokens' vectors, or of what it
/// differs by from the mean of other texts. Where words are counted, it is divided by their number: its length tells a name from a
/// sentence, and cosines stay as they are.
#[derive(Module, Debug)]
pub struct TokenMeans<B: Backend> {
    /// The vector of each token, `[V, D]`; zero for tokens without a meaning, such as padding.
    table: Param<Tensor<B, 2>>,
    /// The mean of the directions of the training texts, `[D]`.
    mean: Param<Tensor<B, 1>>,
    /// The matrix by which the difference of a text from the mean is multiplied, `[D, D]`.
    spread: Param<Tensor<B, 2>>,
    /// 1 at each token that begins a word, `[V, 1]`; 0 at all where words are not counted.
    word_begins: Param<Tensor<B, 2>>,
    pad_id: i64,
}

impl<B: Backend> TokenMeans<B> {
    /// An encoder with the vectors `[V, dim]`, row-major.
    pub fn new(vectors: &[f32], dim: usize, pad_id: i64, device: &B::Device) -> Self {
        let dims = [vectors.len() / dim.max(1), dim];
        let table = Tensor::from_data(TensorData::new(vectors.to_vec(), dims), device);
        let (mean, spread) = (Tensor::zeros([dim], device), Tensor::eye(dim, device));
        let word_begins = Tensor::zeros([dims[0], 1], device);
        Self { table: fixed(table), mean: fixed(mean), spread: fixed(spread), word_begins: fixed(word_begins), pad_id }
    }

    /// The same encoder that tells how a text differs from others: the direction of a text less `mean [D]`, times `spread [D, D]`,
    /// row-major.
    pub fn relative_to(self, mean: &[f32], spread: &[f32], device: &B::Device) -> Self {
        let dim = mean.len();
        let spread = Tensor::from_data(TensorData::new(spread.to_vec(), [dim, dim]), device);
        Self { mean: fixed(Tensor::from_data(mean, device)), spread: fixed(spread), ..self }
    }

    /// The same encoder that counts words. `word_begins [V]` is 1 at each token that begins a word, else 0.
    pub fn counting_words(self, word_begins: &[f32], device: &B::Device) -> Self {
        let word_begins = TensorData::new(word_begins.to_vec(), [word_begins.len(), 1]);
        Self { word_begins: fixed(Tensor::from_data(word_begins, device)), ..self }
    }

    /// Dimension D of the text embedding.
    pub fn dim(&self) -> usize {
        self.table.dims()[1]
    }

    /// `ids [N, length]` -> embeddings `[N, D]`, token states `[N, length, D]` and their mask.
    pub fn forward<O: LayerOps<B>>(&self, ops: &mut O, ids: O::Ids, length: usize) -> EncodedText<O> {
        let padding = ops.equals(ids.clone(), self.pad_id);
        let mask = ops.affine(padding, -1.0, 1.0);
        let states = ops.rounded_lookup(&self.table, ids.clone(), length);
        let sum: O::Tensor<2> = ops.sum(states.clone(), 1);
        let direction = unit(ops, sum);
        // 1, or 0 for a text without a known token, whose embedding stays zero.
        let squares = ops.mul(direction.clone(), direction.clone());
        let is_known: O::Tensor<1> = ops.sum(squares, 1);
        let is_known = ops.reshape(is_known, [-1, 1]);
        let mean = ops.learned_row(&self.mean);
        let mean = ops.mul(mean, is_known);
        let relative = ops.sub(direction, mean);
        let relative = ops.matmul_constant(relative, &weights(&self.spread), self.dim());
        let direction = unit(ops, relative);
        let word_begins = ops.rounded_lookup(&self.word_begins, ids, length);
        let words: O::Tensor<2> = ops.sum(word_begins, 1);
        // A text without a word counts as one.
        let others = ops.affine(words, 1.0, -1.0);
        let others = ops.relu(others);
        let words = ops.affine(others, 1.0, 1.0);
        EncodedText { embedding: ops.div(direction, words), states, mask }
    }

    /// Writes the encoder for prompts of `length` tokens to `g`. Token states and their mask are outputs only if `with_tokens` is true.
    pub fn export(&self, g: &mut GraphBuilder, length: usize, with_tokens: bool) {
        let (tokens, dim) = (Dim::Fixed(length), Dim::Fixed(self.dim()));
        let ids = g.input_i64("input_ids", &[Dim::Batch, tokens]);
        let encoded = self.forward(g, ids, length);
        g.output_f32("text_embedding", &encoded.embedding, &[Dim::Batch, dim]);
        if with_tokens {
            g.output_f32("token_states", &encoded.states, &[Dim::Batch, tokens, dim]);
            g.output_f32("token_mask", &encoded.mask, &[Dim::Batch, tokens]);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use edge_model::backend::Input;
    use ndarray::arr2;

    use super::*;
    use crate::model::ops::Compute;
    use crate::model::reference::run;
    use crate::model::values::values;

    /// A table of four tokens, each row a multiple of whole numbers from -127 to 127: padding, two words and a token without a meaning.
    const TABLE: [[f32; 3]; 4] = [[0.0; 3], [127.0, -1.0, 64.0], [-0.25, 31.75, 0.0], [0.0; 3]];
    const IDS: [[i64; 4]; 3] = [[1, 2, 3, 0], [2, 0, 0, 0], [3, 3, 0, 0]];

    fn encoder() -> TokenMeans<Flex> {
        TokenMeans::new(TABLE.as_flattened(), 3, 0, &Default::default())
    }

    fn unit(v: [f32; 3]) -> [f32; 3] {
        let length = v.iter().map(|v| v * v).sum::<f32>().sqrt();
        v.map(|v| v / length)
    }

    fn assert_near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} instead of {expected:?}");
    }

    #[test]
    fn a_text_is_the_direction_of_its_words_and_one_without_words_is_zero() {
        let expected = [unit([126.75, 30.75, 64.0]), unit(TABLE[2]), [0.0; 3]];
        let ids = Tensor::from_data(IDS, &Default::default());
        let encoded = encoder().forward(&mut Compute::<Flex>::new(Default::default()), ids, 4);
        assert_near(&values(encoded.embedding), expected.as_flattened());
        assert_eq!(values(encoded.mask), [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_text_is_compared_with_the_mean_of_others_and_one_without_words_stays_zero() {
        let device = Default::default();
        // The spread swaps the first two numbers and doubles the third.
        let spread = [0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0];
        let mean = [0.5, 0.0, -0.25];
        let encoder = encoder().relative_to(&mean, &spread, &device);
        let relative = |direction: [f32; 3]| unit([direction[1], direction[0] - 0.5, 2.0 * (direction[2] + 0.25)]);
        let expected = [relative(unit([126.75, 30.75, 64.0])), relative(unit(TABLE[2])), [0.0; 3]];
        let ids = Tensor::from_data(IDS, &device);
        let encoded = encoder.forward(&mut Compute::<Flex>::new(device), ids, 4);
        assert_near(&values(encoded.embedding.clone()), expected.as_flattened());
        let mut g = GraphBuilder::new("text_encoder");
        encoder.export(&mut g, 4, false);
        let found = run(&g.finish().unwrap(), vec![Input::I64(arr2(&IDS).into_dyn())]);
        assert_near(&found[0], &values(encoded.embedding));
    }

    #[test]
    fn the_length_of_an_embedding_tells_the_number_of_words() {
        let device = Default::default();
        let encoder = encoder().counting_words(&[0.0, 1.0, 1.0, 0.0], &device);
        const IDS: [[i64; 4]; 4] = [[1, 2, 2, 3], [2, 3, 0, 0], [1, 2, 0, 0], [3, 0, 0, 0]];
        let ids = Tensor::from_data(IDS, &device);
        let encoded = encoder.forward(&mut Compute::<Flex>::new(device), ids, 4);
        let embeddings = values(encoded.embedding);
        let lengths = embeddings.chunks(3).map(|row| row.iter().map(|v| v * v).sum::<f32>().sqrt());
        assert_near(&lengths.collect::<Vec<_>>(), &[1.0 / 3.0, 1.0, 0.5, 0.0]);
        let mut g = GraphBuilder::new("text_encoder");
        encoder.export(&mut g, 4, false);
        assert_near(&run(&g.finish().unwrap(), vec![Input::I64(arr2(&IDS).into_dyn())])[0], &embeddings);
    }

    #[test]
    fn the_graph_keeps_a_byte_for_each_number_and_gives_the_same() {
        let mut g = GraphBuilder::new("text_encoder");
        encoder().export(&mut g, 4, true);
        let ids = Tensor::from_data(IDS, &Default::default());
        let expected = encoder().forward(&mut Compute::<Flex>::new(Default::default()), ids, 4);
        let found = run(&g.finish().unwrap(), vec![Input::I64(arr2(&IDS).into_dyn())]);
        assert_near(&found[0], &values(expected.embedding));
        assert_near(&found[1], &values(expected.states));
        assert_near(&found[2], &values(expected.mask));

        let large: Vec<f32> = (0..4000 * 64).map(|i| ((i * 7919) % 255) as f32 - 127.0).collect();
        let mut g = GraphBuilder::new("text_encoder");
        TokenMeans::<Flex>::new(&large, 64, 0, &Default::default()).export(&mut g, 4, false);
        let size = g.finish().unwrap().len();
        assert!(size < 4000 * (64 + 4 + 1 + 4) + 64 * 64 * 2 + 3000, "{size}");
    }
}
