//! Trains the bundle's own tokenizer: lower-case, byte-level pair encoding. Every text can be encoded without unknown tokens.

use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::{NFC, Sequence, utils::Lowercase};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, ModelWrapper, NormalizerWrapper, Tokenizer, TokenizerBuilder, TokenizerImpl};

/// The tokenizer cannot be trained.
#[derive(Debug, thiserror::Error)]
#[error("the tokenizer cannot be trained on the tags of the data: {0}. Check the column `tag` of the data")]
pub struct TokenizerError(String);

impl From<tokenizers::Error> for TokenizerError {
    fn from(error: tokenizers::Error) -> Self {
        Self(error.to_string())
    }
}

/// Id of the padding token. The tokenizer learns it first, so it is 0.
pub const PAD_ID: i64 = 0;

/// The special tokens, which are no part of a text.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    /// Fills a text up to the context length.
    pub pad: &'static str,
    /// Stands before the first token of a text.
    pub begin: &'static str,
    /// Stands after the last token of a text.
    pub end: &'static str,
}

/// Special tokens of the project's own encoders.
pub const MARKS: Marks = Marks { pad: "<pad>", begin: "<s>", end: "</s>" };
/// Special tokens of CLIP, which pads with its end token.
pub const CLIP_MARKS: Marks = Marks { pad: CLIP_END, begin: "<|startoftext|>", end: CLIP_END };
/// CLIP's token for the end of a text.
pub const CLIP_END: &str = "<|endoftext|>";

impl Marks {
    /// The special tokens without repetition.
    fn tokens(self) -> Vec<AddedToken> {
        let all = if self.pad == self.end { vec![self.begin, self.end] } else { vec![self.pad, self.begin, self.end] };
        all.into_iter().map(|t| AddedToken::from(t, true)).collect()
    }
}

/// Words about photographs that training tags may lack. The tokenizer learns them as whole tokens or in a few pieces.
const WORDS: &str = "a an the of in on at with and by for from to over under near behind without through \
    photo photograph picture image shot snapshot scene view portrait selfie close-up macro panorama landscape seascape \
    cityscape skyline still life street architecture interior exterior aerial underwater night day dawn dusk sunrise sunset \
    golden hour blue hour twilight sun moon stars milky way sky cloud clouds fog mist rain snow ice storm lightning rainbow \
    sea ocean beach coast wave waves lake river waterfall mountain mountains hill valley canyon desert forest tree trees leaf \
    leaves flower flowers garden grass field park path road bridge tunnel house building tower castle church temple city town \
    village harbour boat ship train car bus bicycle motorcycle aeroplane airplane \
    people person man woman child children baby boy girl family crowd face eyes hands wedding concert dance sport football \
    animal animals bird birds cat dog horse cow sheep insect butterfly bee fish wildlife pet \
    food fruit vegetable bread cake coffee table chair window door lamp light lights candle fire firework fireworks glass book \
    good bad best beautiful pretty sharp blurred blurry soft focus bokeh motion blur noise grain bright dark high key low key \
    contrast colourful colorful black white monochrome sepia duotone silhouette vignette negative hdr vintage retro minimal \
    abstract texture pattern reflection shadow depth perspective symmetry exposure long double vivid warm cold quality";

/// Learns a tokenizer of at most `vocabulary` tokens from the tags. The marks are its first tokens.
///
/// # Errors
/// [`TokenizerError`].
pub fn train(tags: &[String], vocabulary: usize, marks: Marks) -> Result<Tokenizer, TokenizerError> {
    let fail = |e: &dyn std::fmt::Display| TokenizerError(e.to_string());
    let pre = ByteLevel::default().add_prefix_space(true);
    let normalizer = Sequence::new(vec![NormalizerWrapper::NFC(NFC), NormalizerWrapper::Lowercase(Lowercase)]);
    let mut learner: TokenizerImpl<BPE, Sequence, ByteLevel, TemplateProcessing, ByteLevelDecoder> =
        TokenizerBuilder::new()
            .with_model(BPE::default())
            .with_normalizer(Some(normalizer))
            .with_pre_tokenizer(Some(pre))
            .with_decoder(Some(pre))
            .with_post_processor(None)
            .build()
            .map_err(|e| fail(&e))?;
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocabulary)
        .special_tokens(marks.tokens())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    // Sorted, so that the order of the tags does not matter.
    let mut texts: Vec<&str> = tags.iter().map(String::as_str).chain(WORDS.split_whitespace()).collect();
    texts.sort_unstable();
    learner.train(&mut trainer, texts.into_iter()).map_err(|e| fail(&e))?;
    let id = |token: &str| learner.token_to_id(token).ok_or_else(|| fail(&format!("{token} has no id")));
    let Marks { begin, end, .. } = marks;
    let template = TemplateProcessing::builder()
        .try_single(format!("{begin} $A {end}"))
        .map_err(|e| fail(&e))?
        .special_tokens(vec![(begin, id(begin)?), (end, id(end)?)])
        .build()
        .map_err(|e| fail(&e))?;
    let mut tokenizer = Tokenizer::new(ModelWrapper::BPE(learner.get_model().clone()));
    let normalizer = learner.get_normalizer().cloned();
    tokenizer.with_normalizer(normalizer).map_err(|e| fail(&e))?;
    tokenizer.with_pre_tokenizer(Some(pre)).with_decoder(Some(pre)).with_post_processor(Some(template));
    tokenizer.add_special_tokens(marks.tokens()).map_err(|e| fail(&e))?;
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_model::text::{TagTokenizer, TextRule};

    #[test]
    fn any_text_has_tokens_between_begin_and_end() {
        let tags = ["a corgi, baroque style".to_owned(), "night street".to_owned()];
        let tokenizer = train(&tags, 600, MARKS).unwrap();
        assert!(tokenizer.get_vocab_size(true) <= 600);
        assert_eq!(tokenizer.token_to_id(MARKS.pad), Some(PAD_ID as u32));
        let rule = TextRule { template: "{tag}".to_owned(), context_length: 24, pad_id: PAD_ID, whole_words: false };
        let encoder = TagTokenizer::new(tokenizer, rule).unwrap();
        let lower = encoder.encode("night street", None).unwrap();
        assert_eq!(lower, encoder.encode("Night  STREET", None).unwrap());
        assert_eq!((lower[0], lower[1..].iter().filter(|&&id| id == 2).count()), (1, 1));
        assert_eq!(*lower.last().unwrap(), PAD_ID);
        assert!(encoder.encode("写真 ☂", None).unwrap().iter().filter(|&&id| id > 2).count() > 3);
    }

    #[test]
    fn the_order_of_the_tags_does_not_matter() {
        let tags = ["birds".to_owned(), "a tray of sushi".to_owned()];
        let other = [tags[1].clone(), tags[0].clone()];
        let json = |t: &[String]| train(t, 500, MARKS).unwrap().to_string(false).unwrap();
        assert_eq!(json(&tags), json(&other));
    }
}
