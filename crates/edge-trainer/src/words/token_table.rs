//! A vector for every token of a published sentence encoder. A text is then the mean of its tokens' vectors, which is nearly as good for
//! short tags as the encoder itself, and needs no encoder.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use nalgebra::{DMatrix, SymmetricEigen};
use tokenizers::Tokenizer;

use super::WordError;
use super::plurals::singular;
use crate::device::Host;
use crate::message::{Listener, Message};
use crate::model::bert::{Bert, BertConfig};
use crate::model::values;

/// Tokens that a text can have without meaning something else: "a photo of a dog" is "dog".
const IGNORED: [&str; 21] = [
    "a",
    "an",
    "the",
    "of",
    "in",
    "and",
    "&",
    "some",
    "my",
    "photo",
    "photos",
    "photograph",
    "photographs",
    "picture",
    "pictures",
    "image",
    "images",
    "-",
    "'",
    "##s",
    "##es",
];
/// Ids of the tokens whose vectors determine the directions. Those before are special tokens, punctuation and single letters; those behind
/// are rare.
const COMMON: std::ops::Range<usize> = 1000..20000;
/// Begins the tokens that continue a word.
const CONTINUES: &str = "##";
/// Number of texts that the encoder reads at a time.
const TEXTS: usize = 512;
/// Largest magnitude of a rounded number.
const LEVELS: f32 = 127.0;

/// The vectors of all tokens, and the tokenizer that they belong to.
#[derive(Debug, Clone)]
pub struct TokenTable {
    /// Path of `tokenizer.json`, for errors.
    path: PathBuf,
    tokenizer: Tokenizer,
    dim: usize,
    /// Row-major `[V, D]`. Each row is a multiple of whole numbers from -127 to 127; rows of ignored tokens are zero.
    vectors: Vec<f32>,
}

impl TokenTable {
    /// Makes the table from a sentence encoder in the Hugging Face layout: `config.json`, `model.safetensors` and `tokenizer.json` in `dir`.
    ///
    /// The encoder reads each token alone. The vectors are the means of its states, less their mean over all tokens, in the `dim` directions
    /// of the largest variance of the common tokens. A rare word says more than a frequent one, and the vocabulary begins with frequent
    /// words: each vector is multiplied by the logarithm of one plus its token's id.
    ///
    /// # Errors
    /// [`WordError`].
    pub fn make(dir: &Path, dim: usize, listener: &mut dyn Listener) -> Result<Self, WordError> {
        let path = dir.join("tokenizer.json");
        let fail = |reason: String| WordError::File { path: path.clone(), reason };
        let tokenizer = read_tokenizer(&path)?;
        let id = |token: &str| {
            tokenizer.token_to_id(token).ok_or_else(|| fail(format!("the tokenizer has no token {token}")))
        };
        let ends = [id("[CLS]")?, id("[SEP]")?];
        let config = BertConfig::read(&dir.join("config.json"))?;
        let count = tokenizer.get_vocab_size(true);
        if count > config.vocab_size {
            let known = config.vocab_size;
            return Err(fail(format!("the tokenizer has {count} tokens, but vocab_size in config.json is {known}")));
        }
        let encoder = Bert::<Host>::load(&dir.join("model.safetensors"), &config, &Default::default())?;
        let alone = read_tokens(&encoder, ends.map(i64::from), count, listener);
        let ignored: Vec<usize> = IGNORED
            .iter()
            .filter_map(|token| tokenizer.token_to_id(token))
            .chain(
                ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].iter().filter_map(|token| tokenizer.token_to_id(token)),
            )
            .map(|id| id as usize)
            .collect();
        let vectors = reduced(&alone, dim, &ignored);
        Ok(Self { path, tokenizer, dim, vectors })
    }

    /// Reads vectors of length `dim` that were kept in the file `kept`; `None` if it does not exist or has another length. `dir` is the
    /// directory that the table was made from.
    ///
    /// # Errors
    /// [`WordError::File`] if the tokenizer cannot be read.
    pub fn read(dir: &Path, dim: usize, kept: &Path) -> Result<Option<Self>, WordError> {
        let path = dir.join("tokenizer.json");
        let tokenizer = read_tokenizer(&path)?;
        let Ok(bytes) = std::fs::read(kept) else { return Ok(None) };
        let vectors: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let is_whole = bytes.len() == 4 * dim * tokenizer.get_vocab_size(true);
        Ok(is_whole.then_some(Self { path, tokenizer, dim, vectors }))
    }

    /// The same table, in which each plural has the vector of its singular. `nouns` holds nouns in lower case.
    pub fn with_plurals(mut self, nouns: &HashSet<String>) -> Self {
        for (word, id) in self.tokenizer.get_vocab(false) {
            let one = singular(&word, |word| nouns.contains(word)).and_then(|one| self.tokenizer.token_to_id(&one));
            let Some(one) = one else { continue };
            let [from, to] = [one, id].map(|id| id as usize * self.dim);
            self.vectors.copy_within(from..from + self.dim, to);
        }
        self
    }

    /// Makes a table in which each word is one token. `vectors` holds a row of `dim` numbers for each word.
    #[cfg(test)]
    pub fn of_words(words: &[&str], dim: usize, vectors: Vec<f32>) -> Self {
        Self { path: PathBuf::new(), tokenizer: tests::tokenizer(words).parse().unwrap(), dim, vectors }
    }

    /// Returns the length D of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns the vectors, row-major `[V, D]`.
    pub fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// Returns 1 for each token that begins a word with a meaning, else 0: `[V]`. The tokenizer marks the tokens that continue a word.
    pub fn word_begins(&self) -> Vec<f32> {
        let begins = |(id, row): (usize, &[f32])| {
            let token = self.tokenizer.id_to_token(id as u32).unwrap_or_default();
            row.iter().any(|v| *v != 0.0) && !token.starts_with(CONTINUES)
        };
        let rows = self.vectors.chunks(self.dim).enumerate();
        rows.map(|row| if begins(row) { 1.0 } else { 0.0 }).collect()
    }

    /// Returns the vector of a text, of length 1: the mean of its tokens' vectors. A text of ignored tokens alone has the vector 0.
    ///
    /// # Errors
    /// [`WordError::File`] if the tokenizer cannot divide the text into tokens.
    pub fn embed(&self, text: &str) -> Result<Vec<f32>, WordError> {
        let encoded = self.tokenizer.encode(text, false).map_err(|e| WordError::File {
            path: self.path.clone(),
            reason: format!("it cannot divide {text:?} into tokens: {e}"),
        })?;
        let mut sum = vec![0.0f32; self.dim];
        for &id in encoded.get_ids() {
            let row = &self.vectors[id as usize * self.dim..][..self.dim];
            sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
        }
        normalise(&mut sum);
        Ok(sum)
    }
}

fn read_tokenizer(path: &Path) -> Result<Tokenizer, WordError> {
    let fail = |reason: String| WordError::File { path: path.to_owned(), reason };
    let mut tokenizer = Tokenizer::from_file(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| fail(e.to_string()))?;
    Ok(tokenizer)
}

/// Divides a vector by its length. The vector 0 stays as it is.
pub(super) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|v| *v /= length);
    }
}

/// Encodes each token alone, between the two tokens that begin and end a text. Returns the means of the states, `[V, W]`.
fn read_tokens(encoder: &Bert<Host>, ends: [i64; 2], count: usize, listener: &mut dyn Listener) -> DMatrix<f64> {
    listener.on(Message::Begin { what: "reading the words".to_owned(), steps: count as u64 });
    let mut rows: Vec<f32> = Vec::new();
    for first in (0..count).step_by(TEXTS) {
        let ids: Vec<i64> = (first..count.min(first + TEXTS)).flat_map(|id| [ends[0], id as i64, ends[1]]).collect();
        let texts = ids.len() / 3;
        let states = encoder.forward(Tensor::from_data(TensorData::new(ids, [texts, 3]), &Default::default()));
        rows.extend(values(states.mean_dim(1)));
        for _ in 0..texts {
            listener.on(Message::Advance { measure: String::new() });
        }
    }
    listener.on(Message::End);
    DMatrix::from_row_iterator(count, rows.len() / count.max(1), rows.into_iter().map(f64::from))
}

/// Projects, weights and rounds the vectors `[V, W]` of all tokens. Returns `[V, D]`, row-major.
fn reduced(alone: &DMatrix<f64>, dim: usize, ignored: &[usize]) -> Vec<f32> {
    let mean = alone.row_mean();
    let centred = DMatrix::from_fn(alone.nrows(), alone.ncols(), |i, j| alone[(i, j)] - mean[j]);
    let end = COMMON.end.min(alone.nrows());
    let common = centred.rows(COMMON.start.min(end / 2), end - COMMON.start.min(end / 2)).into_owned();
    let SymmetricEigen { eigenvalues, eigenvectors } = SymmetricEigen::new(common.tr_mul(&common));
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|a, b| eigenvalues[*b].total_cmp(&eigenvalues[*a]));
    order.truncate(dim);
    let directions = eigenvectors.select_columns(&order);
    let projected = centred * directions;
    let mut vectors = vec![0.0; projected.nrows() * dim];
    for (id, vector) in vectors.chunks_mut(dim).enumerate() {
        if !ignored.contains(&id) {
            let weight = (id as f64).ln_1p();
            vector.iter_mut().zip(projected.row(id).iter()).for_each(|(v, p)| *v = (p * weight) as f32);
            round(vector);
        }
    }
    vectors
}

/// Rounds a vector to whole numbers from -127 to 127 times a factor of its own.
fn round(vector: &mut [f32]) {
    let largest = vector.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    if largest > 0.0 {
        let factor = largest / LEVELS;
        vector.iter_mut().for_each(|v| *v = (*v / factor).round() * factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(v: &[f64]) -> f64 {
        v.iter().map(|v| v * v).sum::<f64>().sqrt()
    }

    fn cosine(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / (length(a) * length(b))
    }

    #[test]
    fn plurals_get_the_vectors_of_their_singulars() {
        let table = TokenTable::of_words(&["dog", "dogs", "glass", "glasses"], 1, (0..4).map(|v| v as f32).collect());
        let known = |word: &str| table.tokenizer.token_to_id(word).unwrap() as usize;
        let (dog, dogs, glasses) = (known("dog"), known("dogs"), known("glasses"));
        let (before, nouns) = (table.vectors.clone(), ["dog", "glass", "glasses"].map(str::to_owned).into());
        let with = table.with_plurals(&nouns);
        assert_eq!(
            [with.vectors[dog], with.vectors[dogs], with.vectors[glasses]],
            [before[dog], before[dog], before[glasses]]
        );
    }

    #[test]
    fn words_begin_at_tokens_with_a_meaning_that_continue_none() {
        let words = ["?", "dog", "##gy", "of"];
        let table = TokenTable::of_words(&words, 2, vec![0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
        let begins = table.word_begins();
        let of = |word: &str| begins[table.tokenizer.token_to_id(word).unwrap() as usize];
        assert_eq!(words.map(of), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn reduced_vectors_keep_their_angles_grow_with_their_place_and_are_whole_multiples() {
        let alone = DMatrix::from_fn(80, 6, |i, j| ((i * 7 + j * j * 3) as f64 * 0.61).sin() + 5.0);
        let ignored = [3, 40];
        // As many directions as there are: nothing but the rounding is lost.
        let vectors = reduced(&alone, 6, &ignored);
        let row = |id: usize| -> Vec<f64> { vectors[id * 6..][..6].iter().map(|v| f64::from(*v)).collect() };
        let mean = alone.row_mean();
        let centred = |id: usize| -> Vec<f64> { (0..6).map(|j| alone[(id, j)] - mean[j]).collect() };
        for id in 0..80 {
            let largest = row(id).iter().fold(0.0f64, |m, v| m.max(v.abs()));
            if ignored.contains(&id) || id == 0 {
                assert_eq!(largest, 0.0, "{id}");
                continue;
            }
            for v in row(id) {
                let level = v / largest * 127.0;
                assert!((level - level.round()).abs() < 1e-3, "{id}: {level}");
            }
            let (found, expected) = (length(&row(id)), length(&centred(id)) * (id as f64).ln_1p());
            assert!((found / expected - 1.0).abs() < 0.01, "{id}: {found} instead of {expected}");
        }
        for (a, b) in [(1, 2), (5, 60), (79, 30)] {
            let (found, expected) = (cosine(&row(a), &row(b)), cosine(&centred(a), &centred(b)));
            assert!((found - expected).abs() < 0.02, "{a}, {b}: {found} instead of {expected}");
        }
        assert_eq!(reduced(&alone, 2, &[]).len(), 160);
    }

    /// The text of a `tokenizer.json` whose tokens are these words.
    pub fn tokenizer(words: &[&str]) -> String {
        let vocabulary: serde_json::Map<String, serde_json::Value> =
            words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
        serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": words[0]},
        })
        .to_string()
    }

    #[test]
    fn kept_vectors_are_read_again_unless_their_number_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), tokenizer(&["?", "dog", "cat"])).unwrap();
        let kept = dir.path().join("kept");
        assert!(TokenTable::read(dir.path(), 2, &kept).unwrap().is_none());
        let vectors = [0.0f32, 0.0, 3.0, 4.0, -1.5, 2.0];
        let bytes: Vec<u8> = vectors.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&kept, &bytes).unwrap();
        let table = TokenTable::read(dir.path(), 2, &kept).unwrap().unwrap();
        assert_eq!((table.vectors(), table.embed("dog").unwrap()), (&vectors[..], vec![0.6, 0.8]));
        assert!(TokenTable::read(dir.path(), 3, &kept).unwrap().is_none());
        std::fs::write(&kept, &bytes[..20]).unwrap();
        assert!(TokenTable::read(dir.path(), 2, &kept).unwrap().is_none());
    }
}
