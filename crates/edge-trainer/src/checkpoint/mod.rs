//! The run directory: the options, what the run was done on, every epoch's figures, the tokenizer and the best weights in full precision.

mod state;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder};
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

pub use state::{Progress, StateDirectory, Sums, Weights};

use super::dataset::{Part, Parts};
use super::device::{Host, Place};
use super::message::EpochRecord;
use super::model::{ModelShape, ScoreUnit, TagScorer};
use super::{Precision, TrainError, TrainOptions};

/// The options of the run; `edge-trainer fit --config` takes it.
pub const CONFIG: &str = "config.toml";
/// One JSON object per epoch.
pub const METRICS: &str = "metrics.jsonl";
/// What the run was done with and on.
pub const RECORD: &str = "run.json";
/// Which example went into which part: path, tag, score, split.
pub const SPLIT: &str = "split.csv";
/// What the weights need to be loaded.
pub const MODEL: &str = "model.json";
/// The tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// The best weights, in burn's own format.
pub const WEIGHTS: &str = "best.mpk";

/// What stands beside the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Shapes of the weights.
    pub shape: ModelShape,
    /// The unit of the scores.
    pub unit: ScoreUnit,
    /// The epoch that the weights are of.
    pub epoch: usize,
    /// That epoch's Spearman correlation on the validation images.
    pub srcc: f64,
    /// Its mean within tags.
    pub within_tag_srcc: f64,
    /// Whether only the head's weights are kept, because the encoders stayed as they came.
    #[serde(default)]
    pub head_only: bool,
}

/// What a run was done with and on, so that another one can be compared with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The program and its version.
    pub program: String,
    /// The engine of the training and its version.
    pub engine: String,
    /// Operating system and processor.
    pub system: String,
    /// Cores that the process may use.
    pub cores: usize,
    /// The device of the training.
    pub device: Place,
    /// Bits of the matrix products.
    pub precision: Precision,
    /// Seed of every random choice.
    pub seed: u64,
    /// Name of the data set.
    pub data: String,
    /// Digest of the data.
    pub data_sha256: String,
    /// SHA-256 of the weights that the training began with; empty for random ones.
    pub backbone_sha256: String,
    /// The command line.
    pub command: String,
}

impl RunRecord {
    /// The engine that this build trains with.
    pub const ENGINE: &str = "burn 0.21.0";
}

/// A run directory that is being written.
#[derive(Debug)]
pub struct RunDirectory {
    dir: PathBuf,
    metrics: File,
}

impl RunDirectory {
    /// Creates the directory and writes the options and the figures of the epochs that are done. An earlier run in it is
    /// overwritten.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn create(dir: &Path, options: &TrainOptions, done: &[EpochRecord]) -> Result<Self, TrainError> {
        std::fs::create_dir_all(dir).map_err(TrainError::file(dir))?;
        let text = toml::to_string(options).map_err(|e| TrainError::Internal(e.to_string()))?;
        let path = dir.join(CONFIG);
        std::fs::write(&path, text).map_err(TrainError::file(&path))?;
        let path = dir.join(METRICS);
        let open = OpenOptions::new().create(true).write(true).truncate(true).open(&path);
        let mut run = Self { dir: dir.to_owned(), metrics: open.map_err(TrainError::file(&path))? };
        done.iter().try_for_each(|record| run.write_epoch(record))?;
        Ok(run)
    }

    /// Writes which example went into which part, so that anyone can judge the bundle on its test images; the file is a table
    /// that `--data` takes, and a list that `edge-scorer score --pairs` takes.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn write_split(&self, parts: &Parts) -> Result<(), TrainError> {
        let path = self.dir.join(SPLIT);
        let mut out = csv::Writer::from_path(&path).map_err(TrainError::file(&path))?;
        out.write_record(["path", "tag", "score", "split", "group", "condition", "source"])
            .map_err(TrainError::file(&path))?;
        let rows = [(Part::Train, &parts.train), (Part::Validation, &parts.validation), (Part::Test, &parts.test)];
        for (part, examples) in rows {
            for e in examples {
                // The list outlives the working directory that its paths may be relative to.
                let image = std::path::absolute(&e.path).map_err(TrainError::file(&e.path))?;
                let (score, part) = (e.score.to_string(), part.to_string());
                let condition = e.condition.as_deref().unwrap_or_default();
                out.write_record([&*image.to_string_lossy(), &e.tag, &score, &part, &e.group, condition, &e.source])
                    .map_err(TrainError::file(&path))?;
            }
        }
        out.flush().map_err(TrainError::file(&path))
    }

    /// Writes what the run is done with and on.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn write_record(&self, record: &RunRecord) -> Result<(), TrainError> {
        let path = self.dir.join(RECORD);
        let json = serde_json::to_vec_pretty(record).map_err(|e| TrainError::Internal(e.to_string()))?;
        std::fs::write(&path, json).map_err(TrainError::file(&path))
    }

    /// Writes the tokenizer.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn write_tokenizer(&self, json: &str) -> Result<(), TrainError> {
        let path = self.dir.join(TOKENIZER);
        std::fs::write(&path, json).map_err(TrainError::file(&path))
    }

    /// Appends an epoch's figures.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn write_epoch(&mut self, record: &EpochRecord) -> Result<(), TrainError> {
        let line = serde_json::to_string(record).map_err(|e| TrainError::Internal(e.to_string()))?;
        let path = self.dir.join(METRICS);
        writeln!(self.metrics, "{line}").and_then(|()| self.metrics.flush()).map_err(TrainError::file(&path))
    }

    /// Keeps the weights. They appear under their name when they are complete.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn write_weights(&self, model: &TagScorer<Host>, about: &ModelFile) -> Result<(), TrainError> {
        let path = self.dir.join(WEIGHTS);
        let partial = self.dir.join("best.partial.mpk");
        save_weights(model, about.head_only, &partial)?;
        let json = serde_json::to_string_pretty(about).map_err(|e| TrainError::Internal(e.to_string()))?;
        let about_path = self.dir.join(MODEL);
        std::fs::write(&about_path, json).map_err(TrainError::file(&about_path))?;
        std::fs::rename(&partial, &path).map_err(TrainError::file(&path))
    }
}

/// What stands beside the weights of a run directory.
///
/// # Errors
/// [`TrainError::File`].
pub fn read_about(dir: &Path) -> Result<ModelFile, TrainError> {
    let path = dir.join(MODEL);
    let json = std::fs::read(&path).map_err(TrainError::file(&path))?;
    serde_json::from_slice(&json).map_err(TrainError::file(&path))
}

/// The weights of a run directory: into `model`, of the run's shape; its encoders stay where only the head was kept.
///
/// # Errors
/// [`TrainError::File`].
pub fn load(dir: &Path, about: &ModelFile, model: TagScorer<Host>) -> Result<TagScorer<Host>, TrainError> {
    load_weights(model, about.head_only, &dir.join(WEIGHTS))
}

/// Writes weights in burn's own format; of `head_only` the head's.
fn save_weights<B: Backend>(model: &TagScorer<B>, head_only: bool, path: &Path) -> Result<(), TrainError> {
    // Full precision: the compact recorders keep half of it.
    let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
    let saved = if head_only {
        model.head.clone().save_file(path, &recorder)
    } else {
        model.clone().save_file(path, &recorder)
    };
    saved.map_err(TrainError::file(path))
}

/// Reads what [`save_weights`] wrote.
fn load_weights<B: Backend>(model: TagScorer<B>, head_only: bool, path: &Path) -> Result<TagScorer<B>, TrainError> {
    let device = Default::default();
    let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
    if head_only {
        let head = model.head.load_file(path, &recorder, &device).map_err(TrainError::file(path))?;
        return Ok(TagScorer { head, ..model });
    }
    model.load_file(path, &recorder, &device).map_err(TrainError::file(path))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::*;
    use crate::model::head::HeadInput;
    use crate::model::{BackboneShape, SmallShape, values};
    use edge_model::bundle::manifest::HeadKind;

    #[test]
    fn the_recorded_engine_is_the_one_that_is_locked() {
        let lock: toml::Table = include_str!("../../../../Cargo.lock").parse().unwrap();
        let packages = lock["package"].as_array().unwrap();
        let burn = packages.iter().find(|p| p["name"].as_str() == Some("burn")).unwrap();
        assert_eq!(RunRecord::ENGINE, format!("burn {}", burn["version"].as_str().unwrap()));
    }

    #[test]
    fn weights_survive_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(&dir.path().join("run"), &TrainOptions::default(), &[]).unwrap();
        let small = SmallShape { vocabulary: 50, pad_id: 0, text_width: 16, text_layers: 1 };
        let shape = ModelShape {
            backbone: BackboneShape::Small(small),
            head: HeadKind::PooledCrossAttention,
            context_length: 8,
            dropout: 0.1,
        };
        let device = Default::default();
        let fresh = || TagScorer::<Host>::fresh(&shape, &device).unwrap();
        let model = fresh();
        let ids = vec![vec![1, 5, 2, 0, 0, 0, 0, 0]];
        let image = Tensor::<Host, 2>::ones([1, 256], &device);
        // The text's embedding, and the score of a plain image under it.
        let answer = |m: &TagScorer<Host>| {
            let text = m.embed_texts(&ids, &device).embedding;
            let input = HeadInput { image: image.clone(), patches: None, text: text.clone(), tokens: None };
            (values(text), values(m.head.forward(input, ScoreUnit { mean: 0.0, deviation: 1.0 })))
        };
        // burn draws a fresh layer's weights when they are first used: a clone made before would draw others.
        let expected = answer(&model);
        let unit = ScoreUnit { mean: 2.0, deviation: 1.5 };
        let mut about =
            ModelFile { shape: shape.clone(), unit, epoch: 3, srcc: 0.5, within_tag_srcc: 0.4, head_only: false };
        let dir = dir.path().join("run");
        run.write_weights(&model, &about).unwrap();
        assert_eq!(read_about(&dir).unwrap(), about);
        assert!(answer(&load(&dir, &about, fresh()).unwrap()) == expected);
        // Of the head alone: the encoders are those that it is loaded onto.
        about.head_only = true;
        run.write_weights(&model, &about).unwrap();
        let loaded = load(&dir, &read_about(&dir).unwrap(), fresh()).unwrap();
        assert!(answer(&loaded).0 != expected.0);
        let whole = TagScorer { head: loaded.head, ..model };
        assert!(answer(&whole) == expected);
        let missing = read_about(&dir.join("nothing")).unwrap_err().to_string();
        assert!(missing.contains("model.json"), "{missing}");
    }
}
