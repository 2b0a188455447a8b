//! `edge-trainer bench`: measures and prints the time of a training step.

use clap::{Arg, Args};
use edge_cli::{CommandError, Outcome, exit_code};

use super::eval::Format;
use super::option_flags::{OptionFlags, Selection};
use crate::TrainOptions;
use crate::bench::{BenchRequest, StepTimes, bench};

/// The flags of `bench`.
#[derive(Debug, Args)]
pub struct BenchArguments {
    #[command(flatten)]
    options: OptionFlags<BenchOptions>,
    /// Number of timed steps
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Number of steps before the timed ones
    #[arg(long, default_value_t = 2)]
    warm_up: u32,
    /// How to print the times
    #[arg(long, default_value = "table")]
    format: Format,
}

/// The training options that `bench` takes as flags.
#[derive(Debug)]
struct BenchOptions;

impl Selection for BenchOptions {
    fn select(flag: Arg) -> Option<Arg> {
        ["backbone", "train", "batch", "device", "precision"].contains(&flag.get_id().as_str()).then_some(flag)
    }
}

/// Runs `bench`: measures and prints the time of a training step.
pub fn run(arguments: &BenchArguments) -> Outcome {
    let mut options = TrainOptions::default();
    arguments.options.apply(&mut options)?;
    let (warm_up, steps) = (arguments.warm_up as usize, arguments.steps as usize);
    let times = bench(&BenchRequest { options, warm_up, steps })?;
    match arguments.format {
        Format::Json => {
            let json = serde_json::to_string(&times).map_err(|e| CommandError::new(exit_code::SOME_FAILED, e))?;
            println!("{json}");
        }
        Format::Table => print!("{}", table(&times)),
    }
    Ok(())
}

fn table(times: &StepTimes) -> String {
    let [image, text] = &times.backbone;
    let what = if times.head_only { "the head alone" } else { "all trained weights" };
    let median = times.median();
    format!(
        "{image} and {text}, {what}, on {} with precision {:?}: {:.1} ms per step of {} images of {} px and {} tags, \
         {:.1} images/s\n",
        times.device,
        times.precision,
        median * 1e3,
        times.batch,
        times.image_px,
        times.tags,
        times.batch as f64 / median,
    )
}
