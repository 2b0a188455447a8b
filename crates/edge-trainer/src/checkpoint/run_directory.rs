//! The files of a run directory: options, inputs, figures, tokenizer and best weights. The saved state is in `state`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::CheckpointError;
use super::weights::{load_weights, save_weights};
use crate::dataset::{Part, Parts};
use crate::device::{Host, TrainDevice};
use crate::file_error::FileError;
use crate::message::EpochRecord;
use crate::model::{ModelShape, ScoreUnit, TagScorer};
use crate::{Precision, TrainOptions};

/// Name of the file with the options of the run, which `edge-trainer fit --config` reads.
pub const CONFIG: &str = "config.toml";
/// Name of the file with the figures of the training: one line per epoch, a JSON object.
pub const METRICS: &str = "metrics.jsonl";
/// Name of the file that records software, hardware and inputs of the run.
const RECORD: &str = "run.json";
/// Name of the table that lists every example with its part: train, validation or test.
const SPLIT: &str = "split.csv";
/// Name of the file with the description of the best weights, a [`ModelFile`].
pub const MODEL: &str = "model.json";
/// Name of the file with the text encoder's tokenizer, in the format of Hugging Face tokenizers.
const TOKENIZER: &str = "tokenizer.json";
/// Name of the file with the best weights, in burn's own format.
const WEIGHTS: &str = "best.mpk";

/// The description of the best weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Kinds and sizes of the networks, which determine the shapes of the weights.
    pub shape: ModelShape,
    /// Mean and standard deviation of the training scores. The head computes in this unit.
    pub unit: ScoreUnit,
    /// The epoch of the weights, counted from 1.
    pub epoch: usize,
    /// Spearman's correlation on the validation images after this epoch, -1 to 1.
    pub srcc: f64,
    /// Mean over the tags of Spearman's correlation within each tag, on the validation images.
    pub within_tag_srcc: f64,
    /// Whether the file holds the head's weights alone, because the encoders were not trained.
    #[serde(default)]
    pub head_only: bool,
}

/// Software, hardware and inputs of a run, so that runs can be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The program and its version.
    pub program: String,
    /// The training engine and its version.
    pub engine: String,
    /// Operating system and processor architecture.
    pub system: String,
    /// Number of cores that the process may use.
    pub cores: usize,
    /// The device of the training.
    pub device: TrainDevice,
    /// Precision of the matrix products.
    pub precision: Precision,
    /// Seed of every random choice.
    pub seed: u64,
    /// Name of the data set, or the common name of several.
    pub data: String,
    /// SHA-256 over the examples of all data sets.
    pub data_sha256: String,
    /// SHA-256 of the encoders' weights before the training; empty for random weights.
    pub backbone_sha256: String,
    /// The command line that started the training.
    pub command: String,
}

impl RunRecord {
    /// Name and version of the library that trains.
    pub const ENGINE: &str = "burn 0.21.0";
}

/// A run directory that is open for writing.
#[derive(Debug)]
pub struct RunDirectory {
    dir: PathBuf,
    metrics: File,
}

impl RunDirectory {
    /// Creates the directory and writes the options and the figures of the finished epochs `done`. Overwrites the files
    /// of an earlier run in the same directory.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn create(dir: &Path, options: &TrainOptions, done: &[EpochRecord]) -> Result<Self, CheckpointError> {
        std::fs::create_dir_all(dir).map_err(FileError::at(dir))?;
        let text = toml::to_string(options).map_err(|e| CheckpointError::Internal(e.to_string()))?;
        let path = dir.join(CONFIG);
        std::fs::write(&path, text).map_err(FileError::at(&path))?;
        let path = dir.join(METRICS);
        let open = OpenOptions::new().create(true).write(true).truncate(true).open(&path);
        let mut run = Self { dir: dir.to_owned(), metrics: open.map_err(FileError::at(&path))? };
        done.iter().try_for_each(|record| run.write_epoch(record))?;
        Ok(run)
    }

    /// Writes every example with its part, so that the bundle can be judged on its test images. Both `--data` and
    /// `edge-scorer score --pairs` read the file.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn write_split(&self, parts: &Parts) -> Result<(), CheckpointError> {
        let path = self.dir.join(SPLIT);
        let mut out = csv::Writer::from_path(&path).map_err(FileError::at(&path))?;
        out.write_record(["path", "tag", "score", "split", "group", "condition", "source"])
            .map_err(FileError::at(&path))?;
        let rows = [(Part::Train, &parts.train), (Part::Validation, &parts.validation), (Part::Test, &parts.test)];
        for (part, examples) in rows {
            for e in examples {
                // Absolute paths remain valid if the file is read from another working directory.
                let image = std::path::absolute(&e.path).map_err(FileError::at(&e.path))?;
                let (score, part) = (e.score.to_string(), part.to_string());
                let condition = e.condition.as_deref().unwrap_or_default();
                out.write_record([&*image.to_string_lossy(), &e.tag, &score, &part, &e.group, condition, &e.source])
                    .map_err(FileError::at(&path))?;
            }
        }
        Ok(out.flush().map_err(FileError::at(&path))?)
    }

    /// Writes software, hardware and inputs of the run.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn write_record(&self, record: &RunRecord) -> Result<(), CheckpointError> {
        let path = self.dir.join(RECORD);
        let json = serde_json::to_vec_pretty(record).map_err(|e| CheckpointError::Internal(e.to_string()))?;
        Ok(std::fs::write(&path, json).map_err(FileError::at(&path))?)
    }

    /// Writes the tokenizer.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn write_tokenizer(&self, json: &str) -> Result<(), CheckpointError> {
        let path = self.dir.join(TOKENIZER);
        Ok(std::fs::write(&path, json).map_err(FileError::at(&path))?)
    }

    /// Appends an epoch's figures.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn write_epoch(&mut self, record: &EpochRecord) -> Result<(), CheckpointError> {
        let line = serde_json::to_string(record).map_err(|e| CheckpointError::Internal(e.to_string()))?;
        let path = self.dir.join(METRICS);
        Ok(writeln!(self.metrics, "{line}").and_then(|()| self.metrics.flush()).map_err(FileError::at(&path))?)
    }

    /// Writes the best weights and their description. The weight file is renamed to its final name after it has been
    /// written completely.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn write_weights(&self, model: &TagScorer<Host>, about: &ModelFile) -> Result<(), CheckpointError> {
        let path = self.dir.join(WEIGHTS);
        let partial = self.dir.join("best.partial.mpk");
        save_weights(model, about.head_only, &partial)?;
        let json = serde_json::to_string_pretty(about).map_err(|e| CheckpointError::Internal(e.to_string()))?;
        let about_path = self.dir.join(MODEL);
        std::fs::write(&about_path, json).map_err(FileError::at(&about_path))?;
        Ok(std::fs::rename(&partial, &path).map_err(FileError::at(&path))?)
    }
}

/// Reads the description of a run's weights.
///
/// # Errors
/// [`CheckpointError::File`].
pub fn read_about(dir: &Path) -> Result<ModelFile, CheckpointError> {
    let path = dir.join(MODEL);
    let json = std::fs::read(&path).map_err(FileError::at(&path))?;
    Ok(serde_json::from_slice(&json).map_err(FileError::at(&path))?)
}

/// Loads a run's weights into `model`, which has the run's shape. If the file holds the head alone, the encoders stay
/// unchanged.
///
/// # Errors
/// [`CheckpointError::File`].
pub fn load(dir: &Path, about: &ModelFile, model: TagScorer<Host>) -> Result<TagScorer<Host>, CheckpointError> {
    Ok(load_weights(model, about.head_only, &dir.join(WEIGHTS))?)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use edge_model::bundle::manifest::HeadKind;

    use super::*;
    use crate::model::head::HeadInput;
    use crate::model::{BackboneShape, SmallShape, values};

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
        // Returns the embedding of a text, and the score of a constant image under the text.
        let answer = |m: &TagScorer<Host>| {
            let text = m.embed_texts(&ids, &device).embedding;
            let input = HeadInput { image: image.clone(), patches: None, text: text.clone(), tokens: None };
            (values(text), values(m.head.forward(input, ScoreUnit { mean: 0.0, deviation: 1.0 })))
        };
        // burn draws the weights of a new layer at their first use, so use the model before cloning it.
        let expected = answer(&model);
        let unit = ScoreUnit { mean: 2.0, deviation: 1.5 };
        let mut about =
            ModelFile { shape: shape.clone(), unit, epoch: 3, srcc: 0.5, within_tag_srcc: 0.4, head_only: false };
        let dir = dir.path().join("run");
        run.write_weights(&model, &about).unwrap();
        assert_eq!(read_about(&dir).unwrap(), about);
        assert!(answer(&load(&dir, &about, fresh()).unwrap()) == expected);
        // Loading a file with the head alone leaves the encoders of the receiving model unchanged.
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
