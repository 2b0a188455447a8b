//! Texts that mean nothing, so that a tag that is never trained on is answered as if there were none.

use rand::RngExt;
use rand::rngs::StdRng;

use super::Setting;
use crate::model::BackboneShape;

/// Texts of random tokens that a step has beside its own.
const STRANGE: usize = 8;
/// Tokens of such a text, at most.
const STRANGE_TOKENS: usize = 6;

/// Texts of random tokens, padded; none for encoders that come trained.
pub(super) fn strange_texts(setting: Setting<'_>, rng: &mut StdRng) -> Vec<Vec<i64>> {
    let length = setting.shape.context_length;
    let BackboneShape::Small(small) = &setting.shape.backbone else { return Vec::new() };
    // A real text shows how texts begin and end.
    let Ok(mut framed) = setting.tokenizer.encode(setting.default_tag, None) else { return Vec::new() };
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
