//! Texts of random tokens, which have no meaning. The model is trained to score under them as it does without a tag, so
//! that it does not guess under unknown tags.

use rand::RngExt;
use rand::rngs::StdRng;

use super::inputs::TrainInputs;
use crate::model::BackboneShape;

/// Number of texts of random tokens in every step.
const STRANGE: usize = 8;
/// Most tokens of a text of random tokens.
const STRANGE_TOKENS: usize = 6;

/// Returns padded texts of random tokens; none for pretrained encoders.
pub(super) fn strange_texts(inputs: TrainInputs<'_>, rng: &mut StdRng) -> Vec<Vec<i64>> {
    let length = inputs.shape.context_length;
    let BackboneShape::Small(small) = &inputs.shape.backbone else { return Vec::new() };
    // Take the begin and end tokens from a real text.
    let Ok(mut framed) = inputs.tokenizer.encode(inputs.default_tag, None) else { return Vec::new() };
    framed.retain(|&id| id != small.pad_id);
    let (Some(&begin), Some(&end)) = (framed.first(), framed.last()) else { return Vec::new() };
    let most = STRANGE_TOKENS.min(length.saturating_sub(2)).max(1);
    let mut text = || {
        let count = rng.random_range(1..=most);
        let mut ids = vec![begin];
        ids.extend((0..count).map(|_| rng.random_range(0..small.vocabulary as i64)));
        ids.push(end);
        ids.resize(length, small.pad_id);
        ids
    };
    (0..STRANGE).map(|_| text()).collect()
}
