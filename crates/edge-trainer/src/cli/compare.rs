//! `edge-trainer compare`: judges several bundles, a linear probe and zero-shot prompts on the same images. If no
//! bundle is given, it first trains one for each row of the published table.

use std::path::PathBuf;

use clap::{Arg, Args};
use edge_cli::{CommandError, Outcome, exit_code, stop_flag};

use super::eval::{Format, conclude};
use super::fit::{command_line, read_config, user_cache};
use super::message_printer::MessagePrinter;
use super::option_flags::{OptionFlags, Selection};
use crate::TrainOptions;
use crate::evaluate::JudgeOptions;
use crate::evaluate::compare::{CompareRequest, compare};
use crate::paper_rows::{PaperRowsRequest, train_paper_rows};
use crate::report::Report;

const EXAMPLES: &str = "Examples:
  edge-trainer compare --data style:data/styles --out comparison --epochs 20
  edge-trainer compare --data ava:AVA --out comparison --backbone clip-vit-base-patch32
  edge-trainer compare --data agiqa:data/agiqa-3k --model small=models/small
  edge-trainer compare --data ratings.csv --model new=models/new --model old=models/old --out reports/new

Without --model the three networks of the published table are trained into OUT on the same division of the data and with
the same options: with tags, without text, and previous (EfficientNet-B0). Bundles that exist already are used, and a
training that was stopped is resumed.
The first bundle is the reference: its seed and shares divide the data, its test part is judged, its embeddings serve
the linear probe and the zero-shot prompts, and every row is compared with it.";

/// The flags of `compare`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArguments {
    /// The rated images: agiqa:DIR, table:FILE, or a path whose kind is recognised
    #[arg(long, value_name = "SPEC")]
    data: String,
    /// A bundle and its name; may be repeated [default: one bundle for each row of the published table, trained into
    /// OUT]
    #[arg(long = "model", value_name = "NAME=DIR", value_parser = parse_model)]
    models: Vec<(String, PathBuf)>,
    /// Directory for the report and, without --model, for the trained bundles
    #[arg(long, value_name = "DIR", required_unless_present = "models")]
    out: Option<PathBuf>,
    #[command(flatten)]
    training: TrainingArguments,
    /// How to print the figures
    #[arg(long, default_value = "table")]
    format: Format,
    #[command(flatten)]
    options: JudgeOptions,
}

/// Heading above the training flags in the help text.
const TRAINING: &str = "Training of the rows (without --model)";

/// The flags for training the bundles of the published table's rows.
#[derive(Debug, Args)]
struct TrainingArguments {
    /// Options in TOML, such as config.toml of a run
    #[arg(long, value_name = "FILE", conflicts_with = "models", help_heading = TRAINING)]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: OptionFlags<RowOptions>,
}

/// The training options that `compare` takes as flags.
#[derive(Debug)]
struct RowOptions;

impl Selection for RowOptions {
    fn select(flag: Arg) -> Option<Arg> {
        let selected = ["backbone", "head", "epochs", "batch", "lr"].contains(&flag.get_id().as_str());
        selected.then(|| flag.conflicts_with("models").help_heading(TRAINING))
    }
}

impl CompareArguments {
    /// Returns the bundles to compare. If none is named, trains the rows of the published table.
    fn models(&self) -> Result<Vec<(String, PathBuf)>, CommandError> {
        let Some(dir) = self.out.as_ref().filter(|_| self.models.is_empty()) else { return Ok(self.models.clone()) };
        let training = &self.training;
        let mut options = training
            .config
            .as_ref()
            .map_or_else(|| Ok(TrainOptions::default()), |p| read_config(p).map(|file| file.options))?;
        training.options.apply(&mut options)?;
        options.seed = self.options.seed.unwrap_or(options.seed);
        options.max_bad_fraction = self.options.max_bad_fraction;
        let request = PaperRowsRequest {
            data: self.data.clone(),
            allow_outside: self.options.allow_outside,
            dir: dir.clone(),
            cache: user_cache("features"),
            stop: stop_flag().map_err(|e| CommandError::new(exit_code::SOME_FAILED, e))?,
            options,
            command: command_line(std::env::args()),
        };
        Ok(train_paper_rows(&request, &mut MessagePrinter::default())?)
    }
}

fn parse_model(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, dir)) if !name.is_empty() && !dir.is_empty() => Ok((name.to_owned(), PathBuf::from(dir))),
        _ => Err("use NAME=DIR, such as small=models/small".to_owned()),
    }
}

/// Runs `compare`: judges all methods and prints their figures.
pub fn run(arguments: &CompareArguments) -> Outcome {
    let request = CompareRequest {
        models: arguments.models()?,
        data: arguments.data.clone(),
        options: arguments.options.clone(),
    };
    let comparison = compare(&request, &mut MessagePrinter::default())?;
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
