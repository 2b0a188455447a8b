//! The parts of a backbone on EfficientNet-Lite, which `scripts/fetch_backbones` lays into one directory: the network's weights, MiniLM's
//! weights and tokenizer, and WordNet's nouns.

use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend as BurnBackend;
use edge_model::text::{TagTokenizer, TextRule};
use tokenizers::Tokenizer;

use super::{Backbone, BackboneError, WEIGHTS, template};
use crate::TrainOptions;
use crate::message::Listener;
use crate::model::LiteNetwork;
use crate::model::efficientnet::EfficientNet;
use crate::model::kernel_encoder::CONTENT;
use crate::weights::WeightError;
use crate::words::{Meanings, WordError};

/// Directory of the sentence encoder among the parts.
const MINILM: &str = "minilm";
/// WordNet's nouns among the parts.
const NOUNS: &str = "wordnet/data.noun";
/// Largest number of tokens of a prompt. The longest of AGIQA-3K has 77.
const CONTEXT: usize = 77;

/// Returns the path of the network's weights.
pub(super) fn weights(network: LiteNetwork, parts: &Path) -> PathBuf {
    parts.join(network.name()).join("model.pth")
}

/// Returns the backbone if all its parts are in the directory.
pub(super) fn find(network: LiteNetwork, parts: &Path) -> Result<Backbone, BackboneError> {
    let files = [weights(network, parts), parts.join(MINILM).join(WEIGHTS), parts.join(NOUNS)];
    match files.into_iter().find(|path| !path.is_file()) {
        Some(path) => Err(BackboneError::Parts { name: network.name(), path }),
        None => Ok(Backbone::Lite { network, parts: parts.to_owned() }),
    }
}

/// Reads the network's weights.
pub(super) fn network<B: BurnBackend>(
    network: LiteNetwork,
    parts: &Path,
    device: &B::Device,
) -> Result<EfficientNet<B>, WeightError> {
    Ok(EfficientNet::load(&weights(network, parts), &network.shape(), device)?.folded(device))
}

/// Makes the vectors of tokens and classes. `cache` keeps those of the tokens, which take long.
pub(super) fn meanings(parts: &Path, cache: &Path, listener: &mut dyn Listener) -> Result<Meanings, WordError> {
    Meanings::make(&parts.join(MINILM), &parts.join(NOUNS), CONTENT, cache, listener)
}

/// Returns MiniLM's tokenizer, the text of its file, and its number of tokens.
pub(super) fn tokenizer(parts: &Path, options: &TrainOptions) -> Result<(TagTokenizer, String, usize), BackboneError> {
    let path = parts.join(MINILM).join("tokenizer.json");
    let fail = |reason: String| BackboneError::File { path: path.clone(), reason };
    let tokenizer = Tokenizer::from_file(&path).map_err(|e| fail(format!("cannot be read: {e}")))?;
    let size = tokenizer.get_vocab_size(true);
    let pad = tokenizer.token_to_id("[PAD]").ok_or_else(|| fail("the tokenizer has no token [PAD]".to_owned()))?;
    let context_length = options.context_length.min(CONTEXT);
    let rule =
        TextRule { template: template(options, "{tag}"), context_length, pad_id: i64::from(pad), whole_words: true };
    let tokenizer = TagTokenizer::new(tokenizer, rule)?;
    let json = tokenizer.to_json().map_err(|e| fail(e.to_string()))?;
    Ok((tokenizer, json, size))
}
