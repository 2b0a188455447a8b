//! `manifest.json`: everything a reader must know about a model before it opens another file of the bundle.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image_input::InputRule;
use crate::text::TextRule;

/// The version of the manifest's layout that this build reads and writes.
pub const SCHEMA_VERSION: u32 = 1;

/// The manifest, as it stands in the file. Unknown keys are refused: a key that a reader does not understand may change what
/// a score means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Layout of this file; see [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Short name of the model, such as `small`.
    pub name: String,
    /// When the bundle was written, UTC, ISO 8601 with `Z`.
    pub created_at: String,
    /// The program and version that wrote it, such as `edge-trainer 0.1.0`.
    pub tool_version: String,
    /// What kind of network this is.
    pub architecture: Architecture,
    /// How a picture becomes the image encoder's input.
    pub image_input: InputRule,
    /// How a tag becomes the text encoder's input.
    pub text_input: TextRule,
    /// The range and the unit of the quality scores.
    pub score_scale: ScoreScale,
    /// What the head needs and how it is built.
    pub head: Head,
    /// The tags that the model was trained on.
    pub tags: Vec<TagEntry>,
    /// Whether tags outside `tags` may be scored without a warning.
    pub open_vocabulary: bool,
    /// Tags that an image is scored under when nothing else gives it one.
    pub default_tags: Vec<String>,
    /// Whether the similarity is good enough to choose tags for an image from the vocabulary.
    pub suggests_tags: bool,
    /// Calibration for tags that are not in `tags`: see [`TagEntry::quantiles`].
    pub quantiles: Vec<f32>,
    /// The data that the model was trained on and how it was split.
    pub training: Training,
    /// Results on images never trained on, by name, such as `test.srcc`.
    pub metrics: BTreeMap<String, f64>,
    /// Inputs with the outputs that the trainer saw for them.
    pub goldens: Goldens,
    /// Every other file of the bundle, by its path relative to the bundle, with `/` between the parts.
    pub files: BTreeMap<String, FileDigest>,
}

/// What kind of network a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Name of the image encoder, such as `small-kernel` or `clip-vit-b-32`.
    pub image_encoder: String,
    /// Name of the text encoder.
    pub text_encoder: String,
    /// Length D of image and text embeddings.
    pub embedding_dim: usize,
    /// Learned parameters of all three graphs together.
    pub parameters: u64,
}

/// The range and the unit of quality scores. A score may lie slightly outside of the range: it is a prediction, not a rating.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreScale {
    /// Lowest score that a human rater could give.
    pub min: f32,
    /// Highest score that a human rater could give.
    pub max: f32,
    /// What one unit is, in words, such as "mean opinion score of AGIQA-3K".
    pub unit: String,
}

/// The head's kind and inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// How image and text are fused, for people: a scorer needs the graph alone, and opens heads of kinds that came after it.
    pub kind: String,
    /// What the head reads of the image.
    pub image_side: ImageSide,
    /// What the head reads of the tag.
    #[serde(default)]
    pub text_side: TextSide,
}

/// How a head fuses image and text: the kinds that this trainer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// Cross-attention of the tag's tokens (queries) over the image's patches (keys, values).
    PatchCrossAttention,
    /// Cross-attention of tokens cut from the text embedding (queries) over tokens cut from the image embedding (keys, values).
    PooledCrossAttention,
    /// The same behind a gate that begins closed.
    GatedCrossAttention,
    /// A small network over the image embedding whose weights come from the text embedding.
    HyperNetwork,
    /// The first numbers of the image embedding, mixed by shares that the text embedding chooses.
    WeightedSum,
    /// The image embedding alone: every tag gives the same score.
    ImageOnly,
}

impl HeadKind {
    /// The name in manifests and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::PatchCrossAttention => "patch_cross_attention",
            Self::PooledCrossAttention => "pooled_cross_attention",
            Self::GatedCrossAttention => "gated_cross_attention",
            Self::HyperNetwork => "hyper_network",
            Self::WeightedSum => "weighted_sum",
            Self::ImageOnly => "image_only",
        }
    }
}

/// What a head reads of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSide {
    /// `image_embedding`, `f32 [N, D]`: a stored embedding is enough to score a new tag.
    ImageEmbedding,
    /// `image_embedding` and `patch_tokens`, `f32 [N, P, W]`: a new tag needs the image again.
    PatchTokens,
}

/// What a head reads of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextSide {
    /// Nothing.
    Nothing,
    /// `text_embedding`, `f32 [N, D]`.
    #[default]
    TextEmbedding,
    /// `text_embedding`, `token_states`, `f32 [N, T, V]`, and `token_mask`, `f32 [N, T]`, 1 at tokens of the text, 0 behind it.
    TokenStates,
}

/// A tag of the vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagEntry {
    /// The tag.
    pub text: String,
    /// The text that goes to the encoder instead of the tag in the manifest's template, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Evenly spaced quantiles, 0 to 1 inclusive, of the scores that the reference images get under this tag, ascending.
    /// Empty: the manifest's own `quantiles` serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<f32>,
}

/// Where the model comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The command line that trained the model.
    pub command: String,
    /// The data sets.
    pub data: Vec<DataRecord>,
    /// How the images were divided, in words, such as "by prompt, seed 1".
    pub split: String,
    /// Number of (image, tag) examples per part: train, validation, test.
    pub examples: [usize; 3],
    /// The seed of every random choice.
    pub seed: u64,
    /// The complete training configuration.
    pub config: serde_json::Value,
}

/// One data set that a model was trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecord {
    /// Name of the data set, such as `AGIQA-3K`.
    pub name: String,
    /// Its licence, `unknown` where the data does not say.
    pub licence: String,
    /// SHA-256 over the sorted (content id, tag, score) rows.
    pub sha256: String,
}

/// The goldens: images and tags in files of the bundle and what the trainer's own network said of them.
///
/// The tensors file holds `image_embedding [G, D]`, `text_embedding [T, D]`, `score [G, T]` and `similarity [G, T]`, all f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goldens {
    /// The safetensors file.
    pub tensors: String,
    /// The G images, PNG.
    pub images: Vec<String>,
    /// The T tags.
    pub tags: Vec<String>,
    /// How far a replay may be off.
    pub tolerance: Tolerance,
}

/// Largest allowed absolute differences between a replay and the goldens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// For each element of an embedding, as a share of the largest magnitude in the golden embeddings of its kind.
    pub embedding: f32,
    /// For a score, in score units.
    pub score: f32,
    /// For a similarity.
    pub similarity: f32,
}

/// Size and digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// SHA-256 of the bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// Length in bytes.
    pub size_bytes: u64,
}

/// File names that every bundle has.
pub mod file {
    /// The manifest.
    pub const MANIFEST: &str = "manifest.json";
    /// `pixel_values f32[N,3,S,S]` -> `image_embedding f32[N,D]`, and `patch_tokens f32[N,P,W]` where the head reads them.
    pub const IMAGE_ENCODER: &str = "image_encoder.onnx";
    /// `input_ids i64[N,T]` -> `text_embedding f32[N,D]`, and `token_states f32[N,T,V]`, `token_mask f32[N,T]` where the head
    /// reads them.
    pub const TEXT_ENCODER: &str = "text_encoder.onnx";
    /// The image side's tensors, then the text side's (see [`super::Head`]) -> `score f32[N]`.
    pub const QUALITY_HEAD: &str = "quality_head.onnx";
    /// Hugging Face tokenizers format.
    pub const TOKENIZER: &str = "tokenizer.json";
    /// The goldens' tensors.
    pub const GOLDEN_TENSORS: &str = "golden.safetensors";
    /// The graphs.
    pub const GRAPHS: [&str; 3] = [IMAGE_ENCODER, TEXT_ENCODER, QUALITY_HEAD];
    /// Files that a bundle cannot do without.
    pub const REQUIRED: [&str; 5] = [IMAGE_ENCODER, TEXT_ENCODER, QUALITY_HEAD, TOKENIZER, GOLDEN_TENSORS];
}

/// The percentile (0..=100) of `score` among reference scores given as evenly spaced, ascending `quantiles`: linear between
/// quantiles, the middle of a run of equal ones. `None` without quantiles.
pub fn percentile(quantiles: &[f32], score: f32) -> Option<f32> {
    let last = quantiles.len().checked_sub(1).filter(|&n| n > 0)?;
    let below = quantiles.partition_point(|&q| q < score);
    let not_above = quantiles.partition_point(|&q| q <= score);
    let position = if not_above == 0 {
        0.0
    } else if below > last {
        last as f32
    } else if not_above > below {
        0.5 * (below + not_above - 1) as f32
    } else {
        let (low, high) = (quantiles[below - 1], quantiles[below]);
        (below - 1) as f32 + (score - low) / (high - low)
    };
    Some(100.0 * position / last as f32)
}

impl Manifest {
    /// The manifest's entry of a tag, found without regard to ASCII case.
    pub fn tag(&self, text: &str) -> Option<&TagEntry> {
        self.tags.iter().find(|t| t.text.eq_ignore_ascii_case(text))
    }

    /// Share of the reference scores of `tag` that lie below `score`, 0..=100; see [`percentile`].
    pub fn percentile(&self, tag: &str, score: f32) -> Option<f32> {
        percentile(self.quantiles_of(tag), score)
    }

    /// The quantiles that percentiles of `tag` are read off: its own, or those of the whole model.
    pub fn quantiles_of(&self, tag: &str) -> &[f32] {
        let own = self.tag(tag).map(|t| t.quantiles.as_slice()).filter(|q| !q.is_empty());
        own.unwrap_or(&self.quantiles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_a_kind_that_is_not_known_yet_can_be_read() {
        let json = r#"{"kind": "of_the_future", "image_side": "image_embedding"}"#;
        assert_eq!(serde_json::from_str::<Head>(json).unwrap().kind, "of_the_future");
        for kind in [HeadKind::PatchCrossAttention, HeadKind::WeightedSum, HeadKind::ImageOnly] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn percentile_is_linear_between_quantiles_and_clamped_outside() {
        let q = [1.0, 2.0, 4.0];
        assert_eq!(percentile(&q, 0.0), Some(0.0));
        assert_eq!(percentile(&q, 1.0), Some(0.0));
        assert_eq!(percentile(&q, 1.5), Some(25.0));
        assert_eq!(percentile(&q, 3.0), Some(75.0));
        assert_eq!(percentile(&q, 9.0), Some(100.0));
        assert_eq!(percentile(&[2.0, 2.0, 2.0], 2.0), Some(50.0));
        assert_eq!(percentile(&[], 2.0), None);
    }
}
