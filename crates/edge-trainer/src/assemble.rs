//! Assembles a bundle from graphs, goldens, tokenizer and manifest, writes it, and proves it with the scorer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::backbone::Backbone;
use super::dataset::{DataSet, Example, Parts};
use super::device::Host;
use super::export::{ExportError, Graphs, Parity, prove};
use super::golden::{self, GoldenError, Goldens, TOLERANCE};
use super::model::head::record;
use super::model::{ModelShape, TagScorer, parameters};
use super::options::TrainOptions;
use super::training::Trained;
use edge_model::backend::DeviceChoice;
use edge_model::bundle::manifest::{
    Architecture, DataRecord, Goldens as GoldenNames, Manifest, SCHEMA_VERSION, ScoreScale, TagEntry, Training, file,
    is_short,
};
use edge_model::bundle::{BundleError, BundleWriter};
use edge_model::image_input::InputRule;
use edge_model::scorer::{Scorer, ScorerError};
use edge_model::text::{TagTokenizer, TextRule};

/// The default tag, under which an image without a tag is scored.
pub const DEFAULT_TAG: &str = "a good photo";
/// Tags under which every bundle's golden images are scored, in addition to some training tags.
const GOLDEN_TAGS: [&str; 3] = [DEFAULT_TAG, "night street", "Birds over the sea, at dawn"];
/// Largest number of training tags under which the golden images are scored.
const GOLDEN_TRAINED_TAGS: usize = 3;

/// Reason why a bundle cannot be assembled.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The weights cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The goldens cannot be made.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// The bundle cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The scorer refuses the bundle.
    #[error(
        "the scorer refuses the finished bundle: {0}. Unless memory or disk space ran out, please report this as a defect"
    )]
    Scorer(#[from] ScorerError),
    /// A defect of this program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

/// The manifest's record of the training.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// Name of the model in the manifest and the model card.
    pub name: String,
    /// The command line of the training.
    pub command: String,
    /// The options of the training.
    pub options: TrainOptions,
    /// Each data set and its digest.
    pub data: Vec<DataRecord>,
    /// Name of the data set, or one name for all data sets together.
    pub data_name: String,
    /// SHA-256 over all data sets.
    pub data_sha256: String,
    /// Names of the data sets whose images, under their own tags, are the reference of percentiles under unknown tags.
    pub reference_sources: Vec<String>,
    /// One sentence about the images.
    pub about: String,
    /// The range and the unit of the scores.
    pub scale: ScoreScale,
    /// How the data were split.
    pub split: String,
    /// Number of examples for training, validation and test.
    pub examples: [usize; 3],
    /// The training tags in alphabetical order.
    pub tags: Vec<String>,
    /// Whether the text encoder was pretrained and therefore knows words outside the training tags.
    pub knows_language: bool,
}

impl Provenance {
    /// Collects the record from the options, the backbone, the data set and its division into parts.
    pub fn new(
        name: String,
        command: String,
        (options, backbone): (&TrainOptions, &Backbone),
        data: &DataSet,
        parts: &Parts,
    ) -> Self {
        let all: Vec<_> = [&parts.train, &parts.validation, &parts.test].into_iter().flatten().cloned().collect();
        let scores = all.iter().map(|e| e.score);
        let (low, high) = scores.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), s| (l.min(s), h.max(s)));
        let (min, max) = data.scale.unwrap_or((low, high));
        Self {
            name,
            command,
            options: options.clone(),
            data: records(data, &all),
            data_name: data.name.clone(),
            reference_sources: reference_sources(data, backbone),
            data_sha256: super::dataset::digest(&all),
            about: data.about.clone(),
            scale: ScoreScale { min, max, unit: data.unit.clone() },
            split: parts.how.clone(),
            examples: parts.sizes(),
            tags: super::evaluate::distinct_tags(&parts.train),
            knows_language: backbone.knows_similarity(),
        }
    }

    /// Returns the tags for the goldens. Tags that are too long for the model are left out.
    fn golden_tags(&self, tokenizer: &TagTokenizer) -> Vec<String> {
        let step = self.tags.len().div_ceil(GOLDEN_TRAINED_TAGS).max(1);
        let trained = self.tags.iter().step_by(step).map(String::as_str);
        let mut tags: Vec<String> = GOLDEN_TAGS.into_iter().chain(trained).map(str::to_owned).collect();
        let mut seen = std::collections::HashSet::new();
        tags.retain(|t| seen.insert(t.to_lowercase()) && tokenizer.encode(t, None).is_ok());
        tags
    }
}

/// The first data set; for a backbone that knows what images show, all data sets whose tags name that, or nothing.
fn reference_sources(data: &DataSet, backbone: &Backbone) -> Vec<String> {
    let of_content = |e: &&Example| e.alignment.is_some() || e.tag == DEFAULT_TAG;
    let knows_content = matches!(backbone, Backbone::Lite { .. });
    let sources: BTreeSet<String> =
        data.examples.iter().filter(of_content).filter(|_| knows_content).map(|e| e.source.clone()).collect();
    if sources.is_empty() {
        data.examples.first().map(|e| e.source.clone()).into_iter().collect()
    } else {
        sources.into_iter().collect()
    }
}

/// Returns the manifest's record of each data set, in alphabetical order of the names.
fn records(data: &DataSet, examples: &[Example]) -> Vec<DataRecord> {
    let mut by_source: BTreeMap<&str, Vec<Example>> = BTreeMap::new();
    for example in examples {
        by_source.entry(&example.source).or_default().push(example.clone());
    }
    let record = |(name, examples): (&str, Vec<Example>)| DataRecord {
        name: name.to_owned(),
        licence: data.licence.clone(),
        sha256: super::dataset::digest(&examples),
    };
    by_source.into_iter().map(record).collect()
}

/// Results of the evaluation for the manifest: metrics, quantiles and report files. Empty for the candidate bundle,
/// which is written before the evaluation.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Metrics by name, such as `test.srcc`.
    pub metrics: BTreeMap<String, f64>,
    /// Quantiles of the scores of the reference images, on the bundle's scale, in ascending order. Each image is scored
    /// under its own tag.
    pub quantiles: Vec<f32>,
    /// The same for short tags; empty if they are not told from others.
    pub short_tag_quantiles: Vec<f32>,
    /// Quantiles of the reference scores under each tag, by tag.
    pub tag_quantiles: BTreeMap<String, Vec<f32>>,
    /// Whether the similarity of image and tag is accurate enough to suggest tags for an image.
    pub suggests_tags: bool,
    /// The tags that the manifest lists; `None` for the training tags.
    pub tags: Option<Vec<String>>,
    /// Additional files of the bundle, such as the report: (name, bytes).
    pub files: Vec<(String, Vec<u8>)>,
}

impl Findings {
    /// The quantiles for percentiles of `tag`, as the manifest with these findings would choose them.
    pub fn quantiles_of(&self, tag: &str) -> &[f32] {
        let of_short = Some(&self.short_tag_quantiles).filter(|q| !q.is_empty() && is_short(tag));
        self.tag_quantiles.get(tag).or(of_short).unwrap_or(&self.quantiles)
    }
}

/// The contents of a bundle that do not depend on the evaluation: graphs, tokenizer and goldens.
#[derive(Debug, Clone)]
pub struct Content {
    rule: InputRule,
    text: TextRule,
    shape: ModelShape,
    graphs: Graphs,
    tokenizer_json: String,
    goldens: Goldens,
    parameters: u64,
}

impl Content {
    /// Exports the weights as graphs and makes the goldens. `rule` is the input rule of the graphs.
    ///
    /// # Errors
    /// [`AssembleError::Export`] and those of [`golden::make`].
    pub fn new(
        trained: &Trained,
        (shape, rule): (&ModelShape, InputRule),
        provenance: &Provenance,
        tokenizer: &TagTokenizer,
        tokenizer_json: &str,
    ) -> Result<Self, AssembleError> {
        let model: &TagScorer<Host> = &trained.model;
        Ok(Self {
            graphs: Graphs::of((model, shape), trained.unit, &rule)?,
            goldens: golden::make(model, trained.unit, &rule, tokenizer, &provenance.golden_tags(tokenizer))?,
            shape: shape.clone(),
            text: tokenizer.rule().clone(),
            tokenizer_json: tokenizer_json.to_owned(),
            parameters: parameters(model),
            rule,
        })
    }

    /// The rule that makes the image encoder's input from an image.
    pub fn rule(&self) -> &InputRule {
        &self.rule
    }

    /// Number of learned values in the model.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Total size of the three graphs, in bytes.
    pub fn graph_bytes(&self) -> usize {
        self.graphs.image_encoder.len() + self.graphs.text_encoder.len() + self.graphs.quality_head.len()
    }

    /// Writes the bundle, opens it with the scorer, proves it, and only then moves it to `out`.
    ///
    /// # Errors
    /// [`AssembleError::Export`], [`AssembleError::Scorer`], [`AssembleError::Bundle`]; `out` is then unchanged.
    pub fn write(
        &self,
        out: &Path,
        provenance: &Provenance,
        findings: &Findings,
    ) -> Result<(Scorer, Parity), AssembleError> {
        let mut writer = BundleWriter::create(out)?;
        writer.add(file::IMAGE_ENCODER, &self.graphs.image_encoder)?;
        writer.add(file::TEXT_ENCODER, &self.graphs.text_encoder)?;
        writer.add(file::QUALITY_HEAD, &self.graphs.quality_head)?;
        writer.add(file::TOKENIZER, self.tokenizer_json.as_bytes())?;
        writer.add(file::GOLDEN_TENSORS, &self.goldens.tensors.to_bytes().map_err(AssembleError::Internal)?)?;
        for (name, bytes) in self.goldens.images.iter().chain(&findings.files) {
            writer.add(name, bytes)?;
        }
        writer.finish(self.manifest(provenance, findings)?, |dir| {
            let scorer = Scorer::open(dir, DeviceChoice::Cpu)?;
            let parity = prove(&self.goldens, &scorer)?;
            Ok((scorer, parity))
        })
    }

    fn manifest(&self, provenance: &Provenance, findings: &Findings) -> Result<Manifest, AssembleError> {
        let config = serde_json::to_value(&provenance.options).map_err(|e| AssembleError::Internal(e.to_string()))?;
        let entry = |text: &String| TagEntry {
            text: text.clone(),
            prompt: None,
            quantiles: findings.tag_quantiles.get(text).cloned().unwrap_or_default(),
        };
        let default_tag = DEFAULT_TAG.to_owned();
        let listed = findings.tags.as_ref().unwrap_or(&provenance.tags);
        let known = listed.iter().any(|t| t.eq_ignore_ascii_case(DEFAULT_TAG));
        let extra = (!known).then_some(&default_tag);
        let [image_encoder, text_encoder] = self.shape.backbone.names();
        Ok(Manifest {
            schema_version: SCHEMA_VERSION,
            name: provenance.name.clone(),
            created_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            tool_version: concat!("edge-trainer ", env!("CARGO_PKG_VERSION")).to_owned(),
            architecture: Architecture {
                image_encoder,
                text_encoder,
                embedding_dim: self.shape.embedding(),
                text_embedding_dim: Some(self.shape.text_embedding()).filter(|dim| *dim != self.shape.embedding()),
                parameters: self.parameters,
            },
            image_input: self.rule.clone(),
            text_input: self.text.clone(),
            score_scale: provenance.scale.clone(),
            head: record(self.shape.head),
            tags: extra.into_iter().chain(listed).map(entry).collect(),
            // A text encoder that is not pretrained knows only the words of its training tags: other tags get a
            // warning.
            open_vocabulary: provenance.knows_language,
            default_tags: vec![default_tag.clone()],
            suggests_tags: findings.suggests_tags,
            quantiles: findings.quantiles.clone(),
            short_tag_quantiles: findings.short_tag_quantiles.clone(),
            training: Training {
                command: provenance.command.clone(),
                data: provenance.data.clone(),
                split: provenance.split.clone(),
                examples: provenance.examples,
                seed: provenance.options.seed,
                config,
            },
            metrics: findings.metrics.clone(),
            goldens: GoldenNames {
                tensors: file::GOLDEN_TENSORS.to_owned(),
                images: self.goldens.images.iter().map(|(name, _)| name.clone()).collect(),
                tags: self.goldens.tags.clone(),
                tolerance: TOLERANCE,
            },
            files: BTreeMap::new(),
        })
    }
}
