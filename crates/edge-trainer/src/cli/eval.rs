//! `edge-trainer eval`: prints the figures of a bundle on standard output and writes the report into a directory.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use edge_cli::output::{Table, printable};
use edge_cli::{CommandError, Outcome, exit_code};

use super::message_printer::MessagePrinter;
use crate::dataset::{DataError, Part};
use crate::evaluate::{EvalRequest, JudgeError, JudgeOptions, Which, eval};
use crate::report::Report;
use crate::report::document::{Block, Document};

const EXAMPLES: &str = "Examples:
  edge-trainer eval --model models/small --data agiqa:data/agiqa-3k
  edge-trainer eval --model models/small --data agiqa:data/agiqa-3k --by group --out reports/small
  edge-trainer eval --model models/mine --data other-ratings.csv --part all --format json

The data are divided in the same way as by the bundle's own training, so that by default no training image is
judged. --out writes report.html (one file, images included), report.md and metrics.json.";

/// The flags of `eval`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArguments {
    /// Directory of the bundle to judge
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The rated images: agiqa:DIR, table:FILE, or a path whose kind is recognised
    #[arg(long, value_name = "SPEC")]
    data: String,
    /// Which images to judge
    #[arg(long, value_parser = parse_which, value_name = "test|validation|train|all", default_value = "test")]
    part: Which,
    /// Group the figures by tag, or by the condition under which an image was made (column condition of a table,
    /// generator and setting in AGIQA-3K)
    #[arg(long, default_value = "tag")]
    by: By,
    /// Directory that the report is written to
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How to print the figures
    #[arg(long, default_value = "table")]
    format: Format,
    #[command(flatten)]
    options: JudgeOptions,
}

/// Property of the images by which the figures are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Tags
    Tag,
    /// Conditions under which the images were made
    Group,
}

/// Format in which the figures are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people
    Table,
    /// JSON for programs
    Json,
}

fn parse_which(text: &str) -> Result<Which, String> {
    match text {
        "all" => Ok(Which::All),
        _ => text.parse::<Part>().map(Which::Only).map_err(|_| "use test, validation, train or all".to_owned()),
    }
}

/// Runs `eval`: judges the bundle.
pub fn run(arguments: &EvalArguments) -> Outcome {
    let request = EvalRequest {
        model: arguments.model.clone(),
        data: arguments.data.clone(),
        which: arguments.part,
        by_group: arguments.by == By::Group,
        options: arguments.options.clone(),
    };
    let judgement = eval(&request, &mut MessagePrinter::default())?;
    // The pictures are needed for the HTML page alone.
    let examples = if arguments.out.is_some() { judgement.examples.as_slice() } else { &[] };
    let report = Report::of_evaluation(&judgement.evaluation, examples)?;
    conclude(&report, arguments.out.as_ref(), arguments.format)
}

/// Writes the report to `out`, if given, and prints the figures.
pub fn conclude(report: &Report, out: Option<&PathBuf>, format: Format) -> Outcome {
    if let Some(dir) = out {
        report.write(dir)?;
        eprintln!("the report is in {}", dir.display());
    }
    let mut stdout = io::stdout().lock();
    match format {
        Format::Table => print(&report.document, &mut stdout)?,
        Format::Json => stdout.write_all(report.json.as_bytes())?,
    }
    Ok(())
}

/// Prints the sections of the report that are meant for a terminal.
fn print(document: &Document, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", printable(&document.title))?;
    for section in document.sections.iter().filter(|s| s.printed) {
        writeln!(out, "\n{}", printable(&section.title))?;
        for block in &section.blocks {
            match block {
                Block::Text(text) => writeln!(out, "{}", printable(text))?,
                Block::Table(grid) => {
                    let mut table = Table::new(&grid.header);
                    grid.rows.iter().for_each(|row| table.push(row.clone()));
                    table.write(out)?;
                }
                Block::Terms(terms) => {
                    for (term, meaning) in terms {
                        writeln!(out, "{}: {}", printable(term), printable(meaning))?;
                    }
                }
                Block::Chart(_) | Block::Gallery(_) => {}
            }
        }
    }
    Ok(())
}

impl From<JudgeError> for CommandError {
    fn from(error: JudgeError) -> Self {
        let code = match &error {
            JudgeError::Data(DataError::Missing { .. }) => exit_code::NO_INPUT,
            JudgeError::Data(DataError::Unrecognised { .. }) | JudgeError::Request(_) => exit_code::USAGE,
            JudgeError::Bundle { .. } | JudgeError::Division { .. } => exit_code::CONFIG,
            _ => exit_code::SOME_FAILED,
        };
        Self::new(code, error)
    }
}
