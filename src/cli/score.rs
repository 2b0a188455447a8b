//! `edge-scorer score`: a list of (image, tag) pairs in, rows in the same order out, no database. Stateless, so an engine of
//! any kind can spread it over machines.

mod engine;
mod pairs;
mod rows;

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use log::LevelFilter;

use super::options::Common;
use edge_cli::{Failure, Outcome, exit_code, logging};
use edge_model::text::normalise_tag;
use engine::Engine;
use pairs::Pair;
use rows::{Format, RowWriter};

/// Pairs that are worked on together: what is decoded at a time stays in memory until it is scored.
const CHUNK: usize = 32;

const EXAMPLES: &str = "Examples:
  edge-scorer score --tag sunset --tag \"people at the beach\" *.jpg
  edge-scorer score --pairs pairs.csv --format jsonl > scores.jsonl
  echo 'path,tag
a.jpg,birds' | edge-scorer score --pairs - --format csv
The CSV's header holds at least path and tag; other columns are ignored. Relative paths count from the working directory, or,
where nothing is there, from the CSV's directory. A row that fails has an error instead of numbers; the rest goes on, exit 1.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("work").required(true).args(["tags", "pairs"])))]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Score every image under this tag (repeatable)
    #[arg(long = "tag", value_name = "TEXT", requires = "images")]
    tags: Vec<String>,
    /// CSV with the columns path and tag; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    pairs: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Images
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    logging::start(LevelFilter::Warn);
    // A list that cannot be read is said before a model is loaded for it.
    let pairs: Box<dyn Iterator<Item = Pair>> = match &arguments.pairs {
        Some(file) => Box::new(pairs::read(file)?),
        None => Box::new(product(&arguments.images, &arguments.tags)?),
    };
    let (settings, scorer) = arguments.common.scorer()?;
    let digest = scorer.digest().to_owned();
    let mut engine = Engine::new(scorer, settings.limits, settings.decode_threads);
    let mut writer = RowWriter::new(arguments.format, digest, stdout().lock());
    let mut failed = false;
    let mut pairs = pairs.peekable();
    while pairs.peek().is_some() {
        let chunk: Vec<Pair> = pairs.by_ref().take(CHUNK).collect();
        for (pair, result) in chunk.iter().zip(engine.score(&chunk)) {
            failed |= result.is_err();
            writer.row(pair, &result)?;
        }
    }
    writer.finish()?.flush()?;
    if failed { Err(Failure::reported()) } else { Ok(()) }
}

/// Every image under every tag, image by image.
fn product(images: &[PathBuf], tags: &[String]) -> Result<impl Iterator<Item = Pair>, Failure> {
    if tags.iter().any(|tag| normalise_tag(tag).is_empty()) {
        return Err(Failure::new(exit_code::USAGE, "a tag is empty: give a short text such as \"birds\""));
    }
    let (images, tags) = (images.to_vec(), tags.to_vec());
    Ok(images.into_iter().flat_map(move |image| {
        let pair = |tag: &String| Pair::new(image.display().to_string(), tag.clone(), image.clone());
        tags.iter().map(pair).collect::<Vec<_>>()
    }))
}
