//! `edge-trainer fit`: reads the options from their file and from the flags, then trains.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use edge_cli::{CommandError, Outcome, exit_code, stop_flag};

use super::message_printer::MessagePrinter;
use super::option_flags::{AllOptions, OptionFlags};
use crate::checkpoint::CONFIG;
use crate::paper_rows::run_dir_of;
use crate::{FitFile, FitRequest, FitSetup, HeadName, TrainOptions, fit};

const EXAMPLES: &str = "Examples:
  edge-trainer fit --data agiqa:data/agiqa-3k --out models/small
  edge-trainer fit --data ratings.csv --out models/mine --epochs 30 --seed 7
  edge-trainer fit --data ratings.csv --out models/mine --config models/mine.run/config.toml
  edge-trainer fit --data ava:data/AVA --ava-split official --out models/ava
  edge-trainer fit --data agiqa:data/agiqa-3k --data style:data/styles --out models/both
  edge-trainer fit --config models/both/fit.toml --seed 2 --out models/again

A table (.csv with a header, .jsonl or .parquet) has the columns path, tag and score. Optional columns are tag2, tag3 and
so on (or a list of tags), alignment, split (train, validation, test), group and condition. All images of a group are in
the same part; without groups, all images of a tag are.";

/// The flags of `fit`. A flag overrides the file given with `--config`, and the file overrides the defaults.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FitArguments {
    #[command(flatten)]
    setup: FitSetup,
    /// Options in TOML, such as config.toml of an earlier run or fit.toml of a bundle. fit.toml also names the data and
    /// the output
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Resume the training in this run directory with the options of that run
    #[arg(long, value_name = "DIR", conflicts_with_all = ["run", "config"])]
    resume: Option<PathBuf>,
    /// Directory that keeps the features of images between runs [default: features in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Accept data sets that name images outside their own directories; a file of options cannot state it
    #[arg(long)]
    allow_outside: bool,
    /// Input of the model: tag (image and tag), image-only, or efficientnet (image only, with efficientnet-b0)
    #[arg(long, value_enum, conflicts_with = "head")]
    method: Option<Method>,
    #[command(flatten)]
    options: OptionFlags<AllOptions>,
}

/// Value of `--method`, which is a short form of `--backbone` and `--head`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    Tag,
    ImageOnly,
    Efficientnet,
}

impl Method {
    fn apply(self, options: &mut TrainOptions) {
        match self {
            Self::Tag => options.head = None,
            Self::ImageOnly => options.head = Some(HeadName::ImageOnly),
            Self::Efficientnet => {
                (options.backbone, options.head) = ("efficientnet-b0".to_owned(), Some(HeadName::ImageOnly));
            }
        }
    }
}

/// Runs `fit`: trains a model and writes its bundle.
pub fn run(arguments: &FitArguments) -> Outcome {
    let stop = stop_flag().map_err(|e| CommandError::new(exit_code::SOME_FAILED, e))?;
    let FitFile { setup, options } = arguments.file()?;
    let missing = |what| {
        CommandError::new(exit_code::USAGE, format!("there is no {what}: give --{what}, or a --config that names it"))
    };
    if setup.data.is_empty() {
        return Err(missing("data"));
    }
    let out = setup.out.ok_or_else(|| missing("out"))?;
    let run = arguments.resume.clone().or(setup.run).unwrap_or_else(|| run_dir_of(&out));
    let request = FitRequest {
        style: setup.style,
        damage: setup.damage,
        data: setup.data,
        allow_outside: arguments.allow_outside,
        run,
        out,
        resume: arguments.resume.is_some(),
        stop,
        cache: arguments.cache.clone().unwrap_or_else(|| user_cache("features")),
        options,
        command: command_line(std::env::args()),
    };
    fit(&request, &mut MessagePrinter::default())?;
    eprintln!("the bundle is in {}, the run in {}", request.out.display(), request.run.display());
    Ok(())
}

/// Returns the path of the directory `name` in the user's XDG cache directory. If the user has no home directory, the
/// path is in the system's temporary directory.
pub(super) fn user_cache(name: &str) -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("edge-scorer").join(name)
}

impl FitArguments {
    /// Returns the options of the `--resume` run or of the `--config` file, with the given flags applied.
    fn file(&self) -> Result<FitFile, CommandError> {
        let resumed = self.resume.as_ref().map(|run| run.join(CONFIG));
        let FitFile { setup, mut options } = match resumed.as_ref().or(self.config.as_ref()) {
            Some(path) => read_config(path)?,
            None => FitFile::default(),
        };
        if let Some(method) = self.method {
            method.apply(&mut options);
        }
        self.options.apply(&mut options)?;
        Ok(FitFile { setup: self.setup.clone().or(setup), options })
    }
}

/// Reads an options file: the file given with `--config`, or the `config.toml` of a run.
pub(super) fn read_config(path: &Path) -> Result<FitFile, CommandError> {
    let fail = |code, reason: String| CommandError::new(code, format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|e| fail(exit_code::NO_INPUT, format!("{e}. Check --config or --resume")))?;
    FitFile::parse(&text).map_err(|reason| fail(exit_code::CONFIG, reason))
}

/// Returns the command line, quoted for a shell. The program's name stands without its directory.
pub(super) fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let quote = |a: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
        if !a.is_empty() && a.chars().all(plain) { a } else { format!("'{}'", a.replace('\'', "'\\''")) }
    };
    std::iter::once("edge-trainer".to_owned()).chain(arguments.skip(1).map(quote)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        let typed = ["/opt/x/edge-trainer", "fit", "--name", "it's small"].map(str::to_owned);
        assert_eq!(command_line(typed.into_iter()), "edge-trainer fit --name 'it'\\''s small'");
    }
}
