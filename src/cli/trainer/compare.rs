//! `edge-trainer compare`: several bundles and two ways without training on the same images.

use std::path::PathBuf;

use clap::Args;

use super::eval::{CommonArguments, Format, conclude};
use super::progress::Progress;
use crate::cli::Outcome;
use crate::train::evaluate::compare::{CompareRequest, compare};
use crate::train::report::Report;

const EXAMPLES: &str = "Examples:
  edge-trainer compare --data agiqa:data/agiqa-3k --model small=models/small
  edge-trainer compare --data ratings.csv --model new=models/new --model old=models/old --out reports/new

The first bundle is the reference: its seed and shares divide the data, its test part is judged, its embeddings serve
the linear probe and the zero-shot prompts, and every row is compared with it.";

/// The flags of `compare`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArguments {
    /// The rated images: agiqa:DIR, table:FILE, or a path whose kind shows
    #[arg(long, value_name = "SPEC")]
    data: String,
    /// A bundle and what it is called; may be repeated
    #[arg(long = "model", value_name = "NAME=DIR", value_parser = parse_model, required = true)]
    models: Vec<(String, PathBuf)>,
    /// Where the report goes
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How to print the figures
    #[arg(long, default_value = "table")]
    format: Format,
    #[command(flatten)]
    common: CommonArguments,
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
        models: arguments.models.clone(),
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
