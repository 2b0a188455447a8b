//! `manifest.json`: the description of a bundle's model, input rules, goldens and files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image_input::InputRule;
use crate::text::TextRule;

/// Version of the manifest's layout that this build reads and writes.
pub const SCHEMA_VERSION: u32 = 1;

/// The contents of `manifest.json`. Unknown keys are refused, because a key that this build does not know may change the meaning of
/// the scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this file's layout; see [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Short name of the model, such as `small`.
    pub name: String,
    /// When the bundle was written, UTC, ISO 8601 with `Z`.
    pub created_at: String,
    /// The program and version that wrote the bundle, such as `edge-trainer 0.1.0`.
    pub tool_version: String,
    /// Names and sizes of the networks.
    pub architecture: Architecture,
    /// How an image becomes the image encoder's input.
    pub image_input: InputRule,
    /// How a tag becomes the text encoder's input.
    pub text_input: TextRule,
    /// Range and unit of the scores.
    pub score_scale: ScoreScale,
    /// Kind and inputs of the head.
    pub head: Head,
    /// The tags that the model was trained on.
    pub tags: Vec<TagEntry>,
    /// Whether tags outside `tags` may be scored without a warning.
    pub open_vocabulary: bool,
    /// Tags for images that have no other tag.
    pub default_tags: Vec<String>,
    /// Whether the similarity is reliable enough to choose an image's tags from the vocabulary.
    pub suggests_tags: bool,
    /// Quantiles for tags that have none of their own; see [`TagEntry::quantiles`]. Bundles keep all quantiles in a file of their own,
    /// [`file::QUANTILES`]; an open bundle has them here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<f32>,
    /// As `quantiles`, for tags of one or two words; see [`is_short`]. Empty if such tags have those of all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub short_tag_quantiles: Vec<f32>,
    /// The data that the model was trained on, and their division into parts.
    pub training: Training,
    /// Results on images that the model was not trained on, by name, such as `test.srcc`.
    pub metrics: BTreeMap<String, f64>,
    /// Inputs with the outputs that the trainer computed for them.
    pub goldens: Goldens,
    /// Every file of the bundle but `manifest.json`, by its path relative to the bundle, with `/` as separator.
    pub files: BTreeMap<String, FileDigest>,
}

/// Names and sizes of a bundle's networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Name of the image encoder, such as `small-kernel` or `clip-vit-b-32`.
    pub image_encoder: String,
    /// Name of the text encoder, such as `small-transformer`; `none` if the head reads no text.
    pub text_encoder: String,
    /// Length D of image embeddings.
    pub embedding_dim: usize,
    /// Length E of text embeddings; D if it is not given. The similarity of an image and a tag compares the text embedding with the
    /// first E numbers of the image embedding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_embedding_dim: Option<usize>,
    /// Number of learned parameters in all three graphs.
    pub parameters: u64,
}

impl Architecture {
    /// Length E of text embeddings.
    pub fn text_dim(&self) -> usize {
        self.text_embedding_dim.unwrap_or(self.embedding_dim)
    }
}

/// Range and unit of the scores. A score is a prediction and may be slightly outside the range of the ratings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreScale {
    /// Lowest score that a human rater could give.
    pub min: f32,
    /// Highest score that a human rater could give.
    pub max: f32,
    /// The unit in words, such as "mean opinion score of AGIQA-3K".
    pub unit: String,
}

/// Kind and inputs of the head, the network that computes a score from an image's and a tag's encodings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// How image and text are combined; see [`HeadKind`]. For information only: a scorer runs the head's graph without reading
    /// the kind, so kinds that this build does not know are accepted.
    pub kind: String,
    /// The image encoder's outputs that the head reads.
    pub image_side: ImageSide,
    /// The text encoder's outputs that the head reads.
    #[serde(default)]
    pub text_side: TextSide,
}

/// The kinds of head that the trainer builds, by how they combine image and text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// Cross-attention from the tag's tokens (queries) to the image's patches (keys, values).
    PatchCrossAttention,
    /// Cross-attention from tokens cut from the text embedding (queries) to tokens cut from the image embedding (keys, values).
    PooledCrossAttention,
    /// [`Self::PooledCrossAttention`] multiplied by a learned gate that is closed at first.
    GatedCrossAttention,
    /// A small network on the image embedding whose weights are computed from the text embedding.
    HyperNetwork,
    /// A weighted sum of the first values of the image embedding; the weights are computed from the text embedding.
    WeightedSum,
    /// [`Self::WeightedSum`], and a reward for images that show what the tag names.
    MatchedSum,
    /// Only the image embedding is read: all tags give the same score.
    ImageOnly,
}

impl HeadKind {
    /// Returns the name of the kind in manifests, such as `hyper_network`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PatchCrossAttention => "patch_cross_attention",
            Self::PooledCrossAttention => "pooled_cross_attention",
            Self::GatedCrossAttention => "gated_cross_attention",
            Self::HyperNetwork => "hyper_network",
            Self::WeightedSum => "weighted_sum",
            Self::MatchedSum => "matched_sum",
            Self::ImageOnly => "image_only",
        }
    }
}

/// The image encoder's outputs that a head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSide {
    /// `image_embedding`, `f32 [N, D]`. A stored embedding is enough to score a new tag.
    ImageEmbedding,
    /// `image_embedding` and `patch_tokens`, `f32 [N, P, W]`. Scoring a new tag needs the image file.
    PatchTokens,
}

/// The text encoder's outputs that a head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextSide {
    /// The head reads none of the text encoder's outputs.
    Nothing,
    /// `text_embedding`, `f32 [N, D]`.
    #[default]
    TextEmbedding,
    /// `text_embedding`, `token_states`, `f32 [N, T, V]`, and `token_mask`, `f32 [N, T]`: 1 at tokens of the text, 0 at padding.
    TokenStates,
}

/// A tag that the model was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagEntry {
    /// Text of the tag.
    pub text: String,
    /// The prompt for this tag, if it differs from the manifest's template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Evenly spaced quantiles, 0 to 1 inclusive, of the reference images' scores under this tag, ascending. If empty, the
    /// manifest's own `quantiles` apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<f32>,
}

/// How the model was trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The command line that trained the model.
    pub command: String,
    /// The data sets that the model was trained on.
    pub data: Vec<DataRecord>,
    /// How the images were divided into parts, in words, such as "by prompt, seed 1".
    pub split: String,
    /// Number of (image, tag) examples in the parts train, validation and test.
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
    /// Licence of the data set; `unknown` if the data set does not state one.
    pub licence: String,
    /// SHA-256 over the sorted (content id, tag, score) rows.
    pub sha256: String,
}

/// The goldens: images and tags, and the outputs of the trainer's own network for them.
///
/// The tensors file contains `image_embedding [G, D]`, `text_embedding [T, D]`, `score [G, T]` and `similarity [G, T]`, all f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goldens {
    /// Name of the tensors file, in safetensors format.
    pub tensors: String,
    /// Names of the G image files, PNG.
    pub images: Vec<String>,
    /// Texts of the T tags.
    pub tags: Vec<String>,
    /// Largest allowed differences of a replay.
    pub tolerance: Tolerance,
}

impl Goldens {
    /// Whether a file of the bundle is one of the goldens'.
    pub(super) fn names(&self, file: &str) -> bool {
        self.tensors == file || self.images.iter().any(|image| image == file)
    }
}

/// Largest allowed absolute differences between a replay and the goldens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// For each element of an embedding: a fraction of the largest magnitude in the golden embeddings of the same kind.
    pub embedding: f32,
    /// For a score, in units of [`ScoreScale`].
    pub score: f32,
    /// For a similarity, as a difference of cosines.
    pub similarity: f32,
}

/// Largest tolerances that a bundle may state; `score` is a fraction of the score scale. The trainer states a tenth of these; with more,
/// a replay of the goldens would prove nothing.
pub const MAX_TOLERANCE: Tolerance = Tolerance { embedding: 1e-2, score: 1e-2, similarity: 1e-2 };
/// Fewest pairs of a golden image and a golden tag.
pub const MIN_GOLDENS: usize = 4;

/// Size and digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// SHA-256 of the bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// Length of the file in bytes.
    pub size_bytes: u64,
}

/// Names of the files in every bundle.
pub mod file {
    /// The manifest, which names all other files; see [`super::Manifest`].
    pub const MANIFEST: &str = "manifest.json";
    /// `pixel_values f32[N,3,S,S]` -> `image_embedding f32[N,D]`, and `patch_tokens f32[N,P,W]` if the head reads them.
    pub const IMAGE_ENCODER: &str = "image_encoder.onnx";
    /// `input_ids i64[N,T]` -> `text_embedding f32[N,D]`, and `token_states f32[N,T,V]`, `token_mask f32[N,T]` if the head
    /// reads them.
    pub const TEXT_ENCODER: &str = "text_encoder.onnx";
    /// The image encoder's outputs, then the text encoder's, as far as the head reads them (see [`super::Head`]) ->
    /// `score f32[N]`.
    pub const QUALITY_HEAD: &str = "quality_head.onnx";
    /// The tokenizer, in the format of Hugging Face tokenizers.
    pub const TOKENIZER: &str = "tokenizer.json";
    /// The goldens' tensors, in safetensors format; see [`super::Goldens`].
    pub const GOLDEN_TENSORS: &str = "golden.safetensors";
    /// The quantiles of reference scores, in JSON; bundles of earlier versions have them in the manifest.
    pub const QUANTILES: &str = "quantiles.json";
    /// The three ONNX graphs; together they compute a score.
    pub const GRAPHS: [&str; 3] = [IMAGE_ENCODER, TEXT_ENCODER, QUALITY_HEAD];
    /// Files that every bundle must have.
    pub const REQUIRED: [&str; 5] = [IMAGE_ENCODER, TEXT_ENCODER, QUALITY_HEAD, TOKENIZER, GOLDEN_TENSORS];
}

/// Returns the percentile (0..=100) of `score` among reference scores, given as evenly spaced, ascending `quantiles`. A score
/// between two quantiles is interpolated; a score equal to several quantiles gets the middle of them. `None` with fewer than two
/// quantiles.
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

/// Most words of a tag that is short.
const SHORT_TAG_WORDS: usize = 2;

/// Whether a tag has one or two words. Such a tag is mostly a name of what an image shows, and not a description.
pub fn is_short(tag: &str) -> bool {
    tag.split_whitespace().nth(SHORT_TAG_WORDS).is_none()
}

impl Manifest {
    /// Returns the manifest's entry for a tag; ignores ASCII case.
    pub fn tag(&self, text: &str) -> Option<&TagEntry> {
        self.tags.iter().find(|t| t.text.eq_ignore_ascii_case(text))
    }

    /// Returns the share of the reference scores of `tag` below `score`, 0..=100; see [`percentile`].
    pub fn percentile(&self, tag: &str, score: f32) -> Option<f32> {
        percentile(self.quantiles_of(tag), score)
    }

    /// Returns the quantiles for percentiles of `tag`: the tag's own quantiles or, if it has none, those of short tags or of the whole model.
    pub fn quantiles_of(&self, tag: &str) -> &[f32] {
        let own = self.tag(tag).map(|t| &t.quantiles).filter(|q| !q.is_empty());
        let of_short = Some(&self.short_tag_quantiles).filter(|q| !q.is_empty() && is_short(tag));
        own.or(of_short).unwrap_or(&self.quantiles)
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
