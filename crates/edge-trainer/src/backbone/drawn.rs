//! Writes a CLIP directory with random weights, to measure speed, memory and exactness at full size.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{BackboneError, WEIGHTS};
use crate::model::clip::{self, ClipConfig};
use crate::tokenizer::{self, CLIP_END, CLIP_MARKS};

/// Largest number of tokens of the tokenizer. It is smaller than CLIP's 49,408 tokens because CLIP's training texts are
/// not available. The model's embedding table still has a row for each of CLIP's tokens.
const VOCABULARY: usize = 2000;

/// Creates `dir` and writes `config.json`, `model.safetensors` and `tokenizer.json` of a CLIP model with random weights
/// into it.
///
/// # Errors
/// [`BackboneError::File`], [`BackboneError::Weights`].
pub fn draw_clip(dir: &Path, config: &ClipConfig, seed: u64) -> Result<(), BackboneError> {
    let fail = |path: &Path, reason: String| BackboneError::File { path: path.to_owned(), reason };
    std::fs::create_dir_all(dir).map_err(|e| fail(dir, format!("cannot be created: {e}")))?;
    let write = |name: &str, text: String| {
        let path: PathBuf = dir.join(name);
        std::fs::write(&path, text).map_err(|e| fail(&path, format!("cannot be written: {e}")))
    };
    let path = dir.join("tokenizer.json");
    let tokenizer = tokenizer::train(&[], VOCABULARY.min(config.text.vocab_size), CLIP_MARKS)
        .map_err(|e| fail(&path, e.to_string()))?;
    let id = |token: &str| tokenizer.token_to_id(token).map(i64::from);
    let (Some(begin), Some(end)) = (id(CLIP_MARKS.begin), id(CLIP_END)) else {
        return Err(fail(
            &path,
            format!("a vocab_size of {} leaves no room for the special tokens", config.text.vocab_size),
        ));
    };
    let size = tokenizer.get_vocab_size(true);
    if size > config.text.vocab_size {
        return Err(fail(
            &path,
            format!("the tokenizer has {size} tokens, but vocab_size is {}", config.text.vocab_size),
        ));
    }
    // The text encoder reads its output at the end token, whose id depends on the tokenizer.
    let mut config = *config;
    config.text.eos_token_id = end;
    write("tokenizer.json", tokenizer.to_string(true).map_err(|e| fail(&path, e.to_string()))?)?;
    write("config.json", format!("{:#}\n", hugging_face(&config, begin)))?;
    Ok(clip::draw(&dir.join(WEIGHTS), &config, seed)?)
}

/// Returns the `config.json` of a CLIP model, including the fields that only the library `transformers` requires.
fn hugging_face(config: &ClipConfig, begin: i64) -> Value {
    let mut file = json!(config);
    file["model_type"] = json!("clip");
    for part in ["vision_config", "text_config"] {
        file[part]["projection_dim"] = json!(config.embedding);
    }
    file["text_config"]["bos_token_id"] = json!(begin);
    file["text_config"]["pad_token_id"] = json!(config.text.eos_token_id);
    file
}

#[cfg(test)]
mod tests {
    use super::super::Backbone;
    use super::*;
    use crate::TrainOptions;

    fn config() -> ClipConfig {
        let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/clip_tiny/config.json");
        let mut config = ClipConfig::read(&tiny).unwrap();
        config.text.vocab_size = 700;
        config
    }

    #[test]
    fn what_is_drawn_is_read_again_and_is_the_same_for_a_seed() {
        let dir = tempfile::tempdir().unwrap();
        let made = |name: &str, seed| {
            let path = dir.path().join(name);
            draw_clip(&path, &config(), seed).unwrap();
            std::fs::read(path.join(WEIGHTS)).unwrap()
        };
        let first = made("a", 1);
        assert!(first == made("b", 1) && first != made("c", 2));
        let backbone = Backbone::find(dir.path().join("a").to_str().unwrap(), Path::new("")).unwrap();
        let (tokenizer, _, vocabulary) = backbone.tokenizer(&TrainOptions::default(), &[]).unwrap();
        let ids = tokenizer.encode("birds", None).unwrap();
        assert_eq!((ids[0], ids[ids.len() - 1], ids.iter().filter(|&&id| id == 1).count() > 1), (0, 1, true));
        let shape = backbone.shape(&TrainOptions::default(), &tokenizer, vocabulary);
        backbone.model::<burn::backend::Flex>(&shape, &Default::default()).unwrap();
    }

    #[test]
    fn a_vocabulary_too_small_for_every_byte_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config();
        config.text.vocab_size = 60;
        let message = draw_clip(dir.path(), &config, 1).unwrap_err().to_string();
        assert!(message.contains("tokenizer.json: the tokenizer has 258 tokens, but vocab_size is 60"), "{message}");
        assert!(!dir.path().join(WEIGHTS).exists());
    }
}
