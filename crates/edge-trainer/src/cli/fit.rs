//! `edge-trainer fit`: the options from their file and from the flags, then the training.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::progress::Progress;
use crate::checkpoint::CONFIG;
use crate::dataset::{AvaSplit, Fold};
use crate::device::Device;
use crate::rows::beside;
use crate::{FitFile, FitRequest, Precision, Trainable, fit};
use edge_cli::{CommandError, Outcome, exit_code};
use edge_model::bundle::manifest::HeadKind;

const EXAMPLES: &str = "Examples:
  edge-trainer fit --data agiqa:data/agiqa-3k --out models/small
  edge-trainer fit --data ratings.csv --out models/mine --epochs 30 --seed 7
  edge-trainer fit --data ratings.csv --out models/mine --config models/mine.run/config.toml
  edge-trainer fit --data ava:data/AVA --ava-split official --out models/ava
  edge-trainer fit --data agiqa:data/agiqa-3k --data style:data/styles --out models/both
  edge-trainer fit --config models/both/fit.toml --seed 2 --out models/again

A table (.csv with a header, .jsonl or .parquet) has the columns path, tag and score; optional are tag2, tag3 and so on (or a list
of tags), alignment, split (train, validation, test), group and condition. Images of one group, or of one tag where there are no
groups, stay in one part.";

/// The flags of `fit`. A flag wins over the file given by `--config`, which wins over the defaults.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FitArguments {
    /// The rated images: ava:DIR, agiqa:DIR, style:DIR, table:FILE, or a path whose kind shows; give it again to train on several
    /// data sets together
    #[arg(long, value_name = "SPEC")]
    data: Vec<String>,
    /// Where the bundle goes; an older one there is replaced when the new one is proved
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where options, figures and weights of the run go [default: the output path with .run added]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Options in TOML, such as config.toml of an earlier run; fit.toml of a bundle also says data and output
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on with the training in this run directory, with its options
    #[arg(long, value_name = "DIR", conflicts_with_all = ["run", "config"])]
    resume: Option<PathBuf>,
    /// Name of the model [default: the output directory's name]
    #[arg(long)]
    name: Option<String>,
    /// The encoders: small, efficientnet-b0, or a directory with the weights of a CLIP model or of timm's efficientnet_b0
    #[arg(long, value_name = "NAME|DIR")]
    backbone: Option<String>,
    /// What the model reads: tag (image and tag), image-only, or efficientnet (image only, on efficientnet-b0)
    #[arg(long, value_enum)]
    method: Option<Method>,
    /// How image and tag are fused [default: the backbone's]
    #[arg(long, value_enum, conflicts_with = "method")]
    head: Option<HeadName>,
    /// Which weights are fitted: head (the encoders stay as they come), last:N (and the encoders' last N layers) or all
    /// [default: head where the encoders come trained, else all]
    #[arg(long = "train", value_name = "head|last:N|all")]
    trainable: Option<Trainable>,
    /// The prompt, with {tag} where the tag goes [default: "a photo of {tag}" for CLIP, else the tag]
    #[arg(long)]
    template: Option<String>,
    /// Where the features of images are kept between runs [default: features in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Passes over the training images
    #[arg(long)]
    epochs: Option<usize>,
    /// Images per step
    #[arg(long)]
    batch: Option<usize>,
    /// Batches whose gradients make one step together
    #[arg(long, value_name = "BATCHES")]
    accumulate: Option<usize>,
    /// Share of the old weights in the moving average that is judged and exported, such as 0.999; 0 for none
    #[arg(long, value_name = "SHARE")]
    ema: Option<f64>,
    /// Highest learning rate
    #[arg(long)]
    lr: Option<f64>,
    /// Weight of the squared error beside the ranking loss
    #[arg(long)]
    lambda: Option<f64>,
    /// Score difference below which the image that fits the tag better counts as better
    #[arg(long, value_name = "SCORE")]
    tie_threshold: Option<f32>,
    /// Seed of every random choice
    #[arg(long)]
    seed: Option<u64>,
    /// Epochs without improvement after which the training ends
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<usize>,
    /// Side of the image encoder's input, in pixels, where the encoder does not fix it [default: 384 for small, else 224]
    #[arg(long, value_name = "PX")]
    crop_px: Option<u32>,
    /// Short side that pictures are resized to, in pixels
    #[arg(long, value_name = "PX")]
    resize_short_px: Option<u32>,
    /// Filters of the small image encoder's codebook, at every scale
    #[arg(long, value_name = "N")]
    filters: Option<usize>,
    /// Training images that the small image encoder compares with, at most
    #[arg(long, value_name = "N")]
    centres: Option<usize>,
    /// Cross-validation: test on the second of five parts, say, and train on the others
    #[arg(long, value_name = "K/N")]
    fold: Option<Fold>,
    /// Largest share of missing or unreadable images
    #[arg(long, value_name = "SHARE")]
    max_bad_fraction: Option<f64>,
    /// AVA: drop tags with fewer images [default: 1000]
    #[arg(long, value_name = "N")]
    min_images_per_tag: Option<usize>,
    /// AVA: paper draws 135,000 images to train on and 1,350 to test, official takes AVA's list generic_test [default: paper]
    #[arg(long, value_parser = parse_ava_split, value_name = "paper|official")]
    ava_split: Option<AvaSplit>,
    /// Where to train: auto takes the first GPU that has all it needs, else the processor
    #[arg(long, value_name = "auto|cpu|cuda:N")]
    device: Option<Device>,
    /// Matrix products in training in 32 or 16 bits [default: bf16 on a GPU, f32 on the processor]
    #[arg(long, value_enum)]
    precision: Option<PrecisionName>,
}

/// `--method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    Tag,
    ImageOnly,
    Efficientnet,
}

/// `--head`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum HeadName {
    /// The tag's tokens look at the image's patches
    Patch,
    /// Tokens cut from the tag's embedding look at tokens cut from the image's
    Pooled,
    /// The image looks at the tag through a gate that begins closed
    Gated,
    /// The tag makes the weights of a network over the image
    Hyper,
    /// The tag weights the numbers of the image embedding
    Weighted,
    /// The image alone
    ImageOnly,
}

/// `--precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PrecisionName {
    F32,
    Bf16,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::Bf16 => Self::Bf16,
        }
    }
}

impl From<HeadName> for HeadKind {
    fn from(name: HeadName) -> Self {
        match name {
            HeadName::Patch => Self::PatchCrossAttention,
            HeadName::Pooled => Self::PooledCrossAttention,
            HeadName::Gated => Self::GatedCrossAttention,
            HeadName::Hyper => Self::HyperNetwork,
            HeadName::Weighted => Self::WeightedSum,
            HeadName::ImageOnly => Self::ImageOnly,
        }
    }
}

fn parse_ava_split(text: &str) -> Result<AvaSplit, String> {
    match text {
        "paper" => Ok(AvaSplit::Paper),
        "official" => Ok(AvaSplit::Official),
        _ => Err("use paper or official".to_owned()),
    }
}

/// Trains.
pub fn run(arguments: &FitArguments) -> Outcome {
    let stop = edge_cli::stop_flag().map_err(|e| CommandError::new(exit_code::SOME_FAILED, e))?;
    let FitFile { setup, options } = arguments.file()?;
    let missing = |what| {
        CommandError::new(exit_code::USAGE, format!("there is no {what}: give --{what}, or a --config that names it"))
    };
    let data = if arguments.data.is_empty() { setup.data } else { arguments.data.clone() };
    if data.is_empty() {
        return Err(missing("data"));
    }
    // The run of the file belongs to the output of the file.
    let (out, of_file) = match (&arguments.out, setup.out) {
        (Some(out), _) => (out.clone(), None),
        (None, Some(out)) => (out, setup.run),
        (None, None) => return Err(missing("out")),
    };
    let run = arguments.resume.clone().or(arguments.run.clone()).or(of_file);
    let request = FitRequest {
        style: setup.style,
        data,
        run: run.unwrap_or_else(|| beside(&out)),
        out,
        resume: arguments.resume.is_some(),
        stop,
        cache: arguments.cache.clone().unwrap_or_else(|| user_cache("features")),
        options,
        command: command_line(std::env::args()),
    };
    fit(&request, &mut Progress::new())?;
    eprintln!("the bundle is at {}, the run at {}", request.out.display(), request.run.display());
    Ok(())
}

/// Where what is called `name` is kept in the user's cache directory, after the XDG base directory specification; in the system's temporary
/// one where there is no home.
pub(super) fn user_cache(name: &str) -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("edge-scorer").join(name)
}

impl FitArguments {
    /// The file, with the options that flags ask for.
    fn file(&self) -> Result<FitFile, CommandError> {
        let resumed = self.resume.as_ref().map(|run| run.join(CONFIG));
        let FitFile { setup, mut options } = match resumed.as_ref().or(self.config.as_ref()) {
            Some(path) => read_config(path)?,
            None => FitFile::default(),
        };
        fn set<T: Clone>(target: &mut T, flag: &Option<T>) {
            if let Some(value) = flag {
                *target = value.clone();
            }
        }
        set(&mut options.name, &self.name);
        match self.method {
            Some(Method::Tag) => options.head = None,
            Some(Method::ImageOnly) => options.head = Some(HeadKind::ImageOnly),
            Some(Method::Efficientnet) => {
                (options.backbone, options.head) = ("efficientnet-b0".to_owned(), Some(HeadKind::ImageOnly));
            }
            None => {}
        }
        set(&mut options.backbone, &self.backbone);
        if let Some(head) = self.head {
            options.head = Some(head.into());
        }
        set(&mut options.trainable, &self.trainable);
        set(&mut options.accumulate, &self.accumulate);
        set(&mut options.ema, &self.ema);
        set(&mut options.template, &self.template);
        set(&mut options.epochs, &self.epochs);
        set(&mut options.batch, &self.batch);
        set(&mut options.lr, &self.lr);
        set(&mut options.lambda, &self.lambda);
        set(&mut options.tie_threshold, &self.tie_threshold);
        set(&mut options.seed, &self.seed);
        set(&mut options.patience, &self.patience);
        options.crop_px = self.crop_px.or(options.crop_px);
        set(&mut options.resize_short_px, &self.resize_short_px);
        options.fold = self.fold.or(options.fold);
        set(&mut options.filters, &self.filters);
        set(&mut options.centres, &self.centres);
        set(&mut options.max_bad_fraction, &self.max_bad_fraction);
        set(&mut options.min_images_per_tag, &self.min_images_per_tag);
        set(&mut options.ava_split, &self.ava_split);
        set(&mut options.device, &self.device);
        set(&mut options.precision, &self.precision.map(Into::into));
        Ok(FitFile { setup, options })
    }
}

pub(super) fn read_config(path: &Path) -> Result<FitFile, CommandError> {
    let fail = |code, reason: String| CommandError::new(code, format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|e| fail(exit_code::NO_INPUT, format!("{e}. Check --config or --resume")))?;
    FitFile::parse(&text).map_err(|reason| fail(exit_code::CONFIG, reason))
}

/// The command as it was typed, without the program's own directory.
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
