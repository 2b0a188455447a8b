//! `edge-scorer score`: reads (image, tag) pairs and prints a row for each, in the same order. It uses no database and keeps no state, so
//! that a job system can spread it over machines.

mod pair_scorer;
mod pairs;
mod rows;

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueHint};
use log::LevelFilter;

use super::options::Common;
use edge_cli::{CommandError, Outcome, exit_code, logging};
use edge_model::text::normalise_tag;
use pair_scorer::PairScorer;
use pairs::PairRow;
use rows::{RowWriter, ScoreFormat};

/// Number of pairs scored together. Their decoded images are in memory at the same time.
const CHUNK_PAIRS: usize = 32;

const EXAMPLES: &str = "Examples:
  edge-scorer score --tag sunset --tag \"people at the beach\" *.jpg
  edge-scorer score --pairs pairs.csv --format jsonl > scores.jsonl
  echo 'path,tag
a.jpg,birds' | edge-scorer score --pairs - --format csv
The CSV needs a header with the columns path and tag; other columns are ignored. Relative paths are relative to the
working directory or, where no such file exists, to the CSV's directory. A row that fails has an error instead of a
score. The other rows are still scored, and the exit code is 1.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("work").required(true).args(["tags", "pairs"])))]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Score every image under this tag (repeatable)
    #[arg(long = "tag", value_name = "TEXT", requires = "images", value_hint = ValueHint::Other)]
    tags: Vec<String>,
    /// CSV with the columns path and tag; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "images", value_hint = ValueHint::FilePath)]
    pairs: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = ScoreFormat::Table)]
    format: ScoreFormat,
    /// Image files
    #[arg(value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    images: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    logging::start(LevelFilter::Warn);
    // The list is opened first, so that a mistake in it is reported before the model is loaded.
    let pairs: Box<dyn Iterator<Item = PairRow>> = match &arguments.pairs {
        Some(file) => Box::new(pairs::read(file)?),
        None => Box::new(product(&arguments.images, &arguments.tags)?),
    };
    let (settings, scorer) = arguments.common.scorer()?;
    let digest = scorer.digest().to_owned();
    let mut scorer = PairScorer::new(scorer, &settings);
    let mut writer = RowWriter::new(arguments.format, digest, stdout().lock());
    let mut failed = false;
    let mut pairs = pairs.peekable();
    while pairs.peek().is_some() {
        let chunk: Vec<PairRow> = pairs.by_ref().take(CHUNK_PAIRS).collect();
        for (pair, result) in chunk.iter().zip(scorer.score(&chunk)) {
            failed |= result.is_err();
            writer.row(pair, &result)?;
        }
    }
    writer.finish()?.flush()?;
    if failed { Err(CommandError::reported()) } else { Ok(()) }
}

/// Returns every image under every tag, grouped by image.
fn product(images: &[PathBuf], tags: &[String]) -> Result<impl Iterator<Item = PairRow>, CommandError> {
    if tags.iter().any(|tag| normalise_tag(tag).is_empty()) {
        return Err(CommandError::new(exit_code::USAGE, "a tag is empty: give a short text such as \"birds\""));
    }
    let (images, tags) = (images.to_vec(), tags.to_vec());
    Ok(images.into_iter().flat_map(move |image| {
        let pair = |tag: &String| PairRow::new(image.display().to_string(), tag.clone(), image.clone());
        tags.iter().map(pair).collect::<Vec<_>>()
    }))
}
