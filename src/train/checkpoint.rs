//! The run directory: the options, every epoch's figures, the tokenizer and the best weights in full precision.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::record::{FullPrecisionSettings, NamedMpkFileRecorder};
use serde::{Deserialize, Serialize};

use super::dataset::{Part, Parts};
use super::message::EpochRecord;
use super::model::{ModelShape, ScoreUnit, TagScorer};
use super::training::Compute;
use super::{TrainError, TrainOptions};

/// The options of the run; `edge-trainer fit --config` takes it.
pub const CONFIG: &str = "config.toml";
/// One JSON object per epoch.
pub const METRICS: &str = "metrics.jsonl";
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
}

/// A run directory that is being written.
#[derive(Debug)]
pub struct RunDirectory {
    dir: PathBuf,
    metrics: File,
}

impl RunDirectory {
    /// Creates the directory and writes the options. An earlier run in it is overwritten.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn create(dir: &Path, options: &TrainOptions) -> Result<Self, TrainError> {
        std::fs::create_dir_all(dir).map_err(TrainError::file(dir))?;
        let text = toml::to_string(options).map_err(|e| TrainError::Internal(e.to_string()))?;
        let path = dir.join(CONFIG);
        std::fs::write(&path, text).map_err(TrainError::file(&path))?;
        let path = dir.join(METRICS);
        let open = OpenOptions::new().create(true).write(true).truncate(true).open(&path);
        Ok(Self { dir: dir.to_owned(), metrics: open.map_err(TrainError::file(&path))? })
    }

    /// Writes which example went into which part, so that anyone can judge the bundle on its test images; the file is a table
    /// that `--data` takes, and a list that `edge-scorer score --pairs` takes.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn write_split(&self, parts: &Parts) -> Result<(), TrainError> {
        let path = self.dir.join(SPLIT);
        let mut out = csv::Writer::from_path(&path).map_err(TrainError::file(&path))?;
        out.write_record(["path", "tag", "score", "split", "group"]).map_err(TrainError::file(&path))?;
        let rows = [(Part::Train, &parts.train), (Part::Validation, &parts.validation), (Part::Test, &parts.test)];
        for (part, examples) in rows {
            for e in examples {
                // The list outlives the working directory that its paths may be relative to.
                let image = std::path::absolute(&e.path).map_err(TrainError::file(&e.path))?;
                let (score, part) = (e.score.to_string(), part.to_string());
                out.write_record([&*image.to_string_lossy(), &e.tag, &score, &part, &e.group])
                    .map_err(TrainError::file(&path))?;
            }
        }
        out.flush().map_err(TrainError::file(&path))
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
    pub fn write_weights(&self, model: &TagScorer<Compute>, about: &ModelFile) -> Result<(), TrainError> {
        let path = self.dir.join(WEIGHTS);
        let partial = self.dir.join("best.partial.mpk");
        // Full precision: the compact recorders keep half of it.
        let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
        model.clone().save_file(&partial, &recorder).map_err(TrainError::file(&partial))?;
        let json = serde_json::to_string_pretty(about).map_err(|e| TrainError::Internal(e.to_string()))?;
        let about_path = self.dir.join(MODEL);
        std::fs::write(&about_path, json).map_err(TrainError::file(&about_path))?;
        std::fs::rename(&partial, &path).map_err(TrainError::file(&path))
    }
}

/// Loads the weights of a run directory.
///
/// # Errors
/// [`TrainError::File`].
pub fn load(dir: &Path) -> Result<(TagScorer<Compute>, ModelFile), TrainError> {
    let path = dir.join(MODEL);
    let json = std::fs::read(&path).map_err(TrainError::file(&path))?;
    let about: ModelFile = serde_json::from_slice(&json).map_err(TrainError::file(&path))?;
    let path = dir.join(WEIGHTS);
    let device = Default::default();
    let recorder = NamedMpkFileRecorder::<FullPrecisionSettings>::new();
    let model = TagScorer::new(&about.shape, &device).load_file(&path, &recorder, &device);
    Ok((model.map_err(TrainError::file(&path))?, about))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_survive_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(&dir.path().join("run"), &TrainOptions::default()).unwrap();
        let shape = ModelShape {
            widths: vec![4, 8],
            vocabulary: 50,
            context_length: 8,
            pad_id: 0,
            text_width: 16,
            text_layers: 1,
            dropout: 0.1,
        };
        let device = Default::default();
        let model = TagScorer::<Compute>::new(&shape, &device);
        let ids = vec![vec![1, 5, 2, 0, 0, 0, 0, 0]];
        let answer = |m: &TagScorer<Compute>| m.embed_texts(&ids, &device).into_data().to_vec::<f32>().unwrap();
        // burn draws a fresh layer's weights when they are first used: a clone made before would draw others.
        let expected = answer(&model);
        let unit = ScoreUnit { mean: 2.0, deviation: 1.5 };
        let about = ModelFile { shape, unit, epoch: 3, srcc: 0.5, within_tag_srcc: 0.4 };
        run.write_weights(&model, &about).unwrap();
        let (loaded, read) = load(&dir.path().join("run")).unwrap();
        assert_eq!(read, about);
        assert!(answer(&loaded) == expected);
        let missing = load(&dir.path().join("nothing")).unwrap_err().to_string();
        assert!(missing.contains("model.json"), "{missing}");
    }
}
