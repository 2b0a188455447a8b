//! `edge-trainer compare`: the paper's rows, or bundles that are there, and two ways without a network on the same images.

use std::path::PathBuf;

use clap::Args;

use super::eval::{CommonArguments, Format, conclude};
use super::fit::{HeadName, command_line, read_config, user_cache};
use super::progress::Progress;
use crate::TrainOptions;
use crate::evaluate::compare::{CompareRequest, compare};
use crate::report::Report;
use crate::rows::{RowsRequest, train_rows};
use edge_cli::{CommandError, Outcome, exit_code};

const EXAMPLES: &str = "Examples:
  edge-trainer compare --data style:data/styles --out comparison --epochs 20
  edge-trainer compare --data ava:AVA --out comparison --backbone clip-vit-base-patch32
  edge-trainer compare --data agiqa:data/agiqa-3k --model small=models/small
  edge-trainer compare --data ratings.csv --model new=models/new --model old=models/old --out reports/new

Without --model the three networks of the published table are trained into OUT, on one division and one budget: with tags, without
text, and previous (EfficientNet-B0). Those that are there already are taken, one that was stopped goes on.
The first bundle is the reference: its seed and shares divide the data, its test part is judged, its embeddings serve
the linear probe and the zero-shot prompts, and every row is compared with it.";

/// The flags of `compare`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArguments {
    /// The rated images: agiqa:DIR, table:FILE, or a path whose kind shows
    #[arg(long, value_name = "SPEC")]
    data: String,
    /// A bundle and what it is called; may be repeated [default: the rows of the published table, trained into OUT]
    #[arg(long = "model", value_name = "NAME=DIR", value_parser = parse_model)]
    models: Vec<(String, PathBuf)>,
    /// Where the report goes, and the bundles that are trained
    #[arg(long, value_name = "DIR", required_unless_present = "models")]
    out: Option<PathBuf>,
    #[command(flatten)]
    training: TrainingArguments,
    /// How to print the figures
    #[arg(long, default_value = "table")]
    format: Format,
    #[command(flatten)]
    common: CommonArguments,
}

/// How the rows are trained.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training of the rows (without --model)")]
struct TrainingArguments {
    /// Options in TOML, such as config.toml of a run
    #[arg(long, value_name = "FILE", conflicts_with = "models")]
    config: Option<PathBuf>,
    /// The encoders of the rows with tags and without text
    #[arg(long, value_name = "NAME|DIR", conflicts_with = "models")]
    backbone: Option<String>,
    /// How image and tag are fused [default: the backbone's]
    #[arg(long, value_enum, conflicts_with = "models")]
    head: Option<HeadName>,
    /// Passes over the training images
    #[arg(long, conflicts_with = "models")]
    epochs: Option<usize>,
    /// Images per step
    #[arg(long, conflicts_with = "models")]
    batch: Option<usize>,
    /// Highest learning rate
    #[arg(long, conflicts_with = "models")]
    lr: Option<f64>,
}

impl CompareArguments {
    /// The bundles to compare; where none is named, the rows of the published table, trained.
    fn models(&self) -> Result<Vec<(String, PathBuf)>, CommandError> {
        let Some(dir) = self.out.as_ref().filter(|_| self.models.is_empty()) else { return Ok(self.models.clone()) };
        let training = &self.training;
        let mut options = training
            .config
            .as_ref()
            .map_or_else(|| Ok(TrainOptions::default()), |p| read_config(p).map(|file| file.options))?;
        options.backbone = training.backbone.clone().unwrap_or(options.backbone);
        options.head = training.head.map(Into::into).or(options.head);
        options.epochs = training.epochs.unwrap_or(options.epochs);
        options.batch = training.batch.unwrap_or(options.batch);
        options.lr = training.lr.unwrap_or(options.lr);
        options.seed = self.common.seed.unwrap_or(options.seed);
        options.max_bad_fraction = self.common.max_bad_fraction;
        let request = RowsRequest {
            data: self.data.clone(),
            dir: dir.clone(),
            cache: user_cache("features"),
            stop: edge_cli::stop_flag().map_err(|e| CommandError::new(exit_code::SOME_FAILED, e))?,
            options,
            command: command_line(std::env::args()),
        };
        Ok(train_rows(&request, &mut Progress::new())?)
    }
}

fn parse_model(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, dir)) if !name.is_empty() && !dir.is_empty() => Ok((name.to_owned(), PathBuf::from(dir))),
        _ => Err("write NAME=DIR, such as small=models/small".to_owned()),
    }
}

/// Compares.
pub fn run(arguments: &CompareArguments) -> Outcome {
    let request = CompareRequest {
        models: arguments.models()?,
        data: arguments.data.clone(),
        seed: arguments.common.seed,
        replicates: arguments.common.bootstrap as usize,
        max_bad_fraction: arguments.common.max_bad_fraction,
        device: arguments.common.device,
    };
    let comparison = compare(&request, &mut Progress::new())?;
    conclude(&Report::of_comparison(&comparison)?, arguments.out.as_ref(), arguments.format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_a_name_and_a_directory() {
        assert_eq!(parse_model("a=b=c"), Ok(("a".to_owned(), PathBuf::from("b=c"))));
        assert!(parse_model("models/small").is_err() && parse_model("=x").is_err());
    }
}
