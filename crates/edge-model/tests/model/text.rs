//! Tests of the token ids of tags: by the manifest's text rule, and compared with CLIP's own tokenizer if the reference data
//! exist.

use std::path::Path;

use edge_model::text::{TagTokenizer, TextError, TextRule, normalise_tag};
use edge_testing::{repository, shared_data, skip};
use tokenizers::Tokenizer;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::Whitespace;

fn rule(template: &str, context_length: usize) -> TextRule {
    TextRule { template: template.to_owned(), context_length, pad_id: 9, whole_words: false }
}

/// A tokenizer of four words: "a" 1, "photo" 2, "of" 3, "birds" 4, everything else 0.
fn words() -> Tokenizer {
    let vocabulary = ["[unk]", "a", "photo", "of", "birds"];
    let vocabulary = vocabulary.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id as u32)).collect();
    let model = WordLevel::builder().vocab(vocabulary).unk_token("[unk]".to_owned()).build().unwrap();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(Whitespace {}));
    tokenizer
}

#[test]
fn the_template_is_applied_and_the_end_is_padded() {
    let tokenizer = TagTokenizer::new(words(), rule("a photo of {tag}", 6)).unwrap();
    assert_eq!(tokenizer.encode("  birds ", None).unwrap(), [1, 2, 3, 4, 9, 9]);
    assert_eq!(tokenizer.encode("x", None).unwrap(), [1, 2, 3, 0, 9, 9]);
    assert_eq!(
        tokenizer.encode("x", Some("birds of a")).unwrap(),
        [4, 3, 1, 9, 9, 9],
        "the prompt of the manifest is not used"
    );
}

#[test]
fn empty_and_too_long_tags_are_refused_and_never_truncated() {
    let tokenizer = TagTokenizer::new(words(), rule("a {tag}", 3)).unwrap();
    assert!(matches!(tokenizer.encode(" \t\n", None), Err(TextError::Empty)));
    assert_eq!(tokenizer.encode("birds birds", None).unwrap(), [1, 4, 4]);
    let error = tokenizer.encode("birds birds birds", None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tag \"birds birds birds\" has 4 tokens and the model takes at most 3: shorten the tag"
    );
}

#[test]
fn invalid_rules_are_refused() {
    let error = TagTokenizer::new(words(), rule("a photo", 8)).unwrap_err().to_string();
    assert!(error.contains("template \"a photo\" does not contain {tag}"), "{error}");
    assert!(TagTokenizer::new(words(), rule("{tag}", 0)).is_err());
    let error = TagTokenizer::from_file(Path::new("/nonexistent/tokenizer.json"), rule("{tag}", 8)).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/tokenizer.json: not a usable tokenizer"), "{error}");
}

#[test]
fn normalisers_that_multiply_each_other_are_refused() {
    let shipped = std::fs::read(repository("models/small/tokenizer.json")).unwrap();
    let with = |steps: serde_json::Value| {
        let mut tokenizer: serde_json::Value = serde_json::from_slice(&shipped).unwrap();
        tokenizer["normalizer"] = serde_json::json!({ "type": "Sequence", "normalizers": steps });
        TagTokenizer::from_bytes(
            Path::new("tokenizer.json"),
            &serde_json::to_vec(&tokenizer).unwrap(),
            rule("{tag}", 8),
        )
    };
    let replace =
        |content: &str| serde_json::json!({ "type": "Replace", "pattern": { "String": "q" }, "content": content });
    assert!(with(serde_json::json!([{ "type": "Lowercase" }, replace(" and "), { "type": "NFC" }])).is_ok());
    // 20^3 is 8000 letters for one.
    let error = with(serde_json::json!(vec![replace(&"q".repeat(20)); 3])).unwrap_err().to_string();
    assert!(error.contains("its normaliser can make a text more than 256 times as long"), "{error}");
}

#[test]
fn white_space_of_a_tag_is_folded() {
    assert_eq!(normalise_tag("  night \n street\t"), "night street");
}

#[test]
fn the_shipped_bundles_tokenizer_encodes_its_own_vocabulary_and_unseen_words() {
    let manifest = edge_model::bundle::Bundle::open(&repository("models/small")).unwrap();
    let rule = manifest.manifest().text_input.clone();
    let path = repository("models/small/tokenizer.json");
    let tokenizer = TagTokenizer::from_file(&path, rule.clone()).unwrap();
    for tag in &manifest.manifest().tags {
        let ids = tokenizer.encode(&tag.text, tag.prompt.as_deref()).unwrap();
        assert_eq!(ids.len(), rule.context_length);
    }
    let unseen = tokenizer.encode("xylophonist zebra quux", None).unwrap();
    assert!(
        unseen.iter().filter(|id| **id != rule.pad_id).count() >= 3,
        "unseen words are not split into pieces: {unseen:?}"
    );
    assert_ne!(unseen, tokenizer.encode("another sentence", None).unwrap());
}

#[test]
fn clips_tokenizer_gives_the_known_ids() {
    let Some(data) = shared_data() else {
        return skip("text::clips_tokenizer_gives_the_known_ids", "../shared/data does not exist");
    };
    let rule =
        TextRule { template: "a photo of {tag}".to_owned(), context_length: 77, pad_id: 49407, whole_words: false };
    let tokenizer = TagTokenizer::from_file(&data.join("clip-vit-b32-hf/tokenizer.json"), rule).unwrap();
    let ids = tokenizer.encode("an astronaut riding a horse on mars", None).unwrap();
    let known = [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496, 49407];
    assert_eq!(ids[..12], known);
    assert!(ids.len() == 77 && ids[12..].iter().all(|&id| id == 49407));
}
